"""`undertow verify`: re-reads and checks every byte under a root."""

import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pipeline.core.errors import ArtifactError
from pipeline.store import Store, artifact, parallel_map
from pipeline.store.artifact import MANIFEST, SIGNATURES, UNITS, File, Json, Manifest
from pipeline.store.records import of_shape
from pipeline.store.step import CHECKPOINTS, KINDS

# The files with a checksum, apart from manifests.
RECORD = re.compile(rf"{UNITS}/(?P<unit>[^/]+)\.json|(?P<checkpoint>{CHECKPOINTS}/[^/]+)/rank-\d+\.json")
# What belongs to an artifact though its manifest does not name it: records, and signatures, which
# pipeline.provenance.attestation.signing names.
OTHERS = re.compile(rf"{RECORD.pattern}|{SIGNATURES}/[0-9a-f]{{16}}-[0-9a-f]{{16}}\.(dsse\.json|sig)")
ATTEMPT = re.compile(r"attempt-(?P<number>[1-9]\d{0,5})/(?P<inner>.+)", re.DOTALL)
UNFINISHED = re.compile(r"(.+/)?\.[0-9a-f]{32}\.part", re.DOTALL)  # a partly written file
Result = TypeVar("Result")


@dataclass(frozen=True)
class Verified:
    """The result for one artifact, finished or not. problems: one line each.

    leftover: number of files that no record names, from failed or running attempts; gc removes them later.
    """

    path: str
    finished: bool
    files: int
    bytes: int
    leftover: int
    problems: list[str]


def verify(store: Store) -> Iterator[Verified]:
    """Read and check every artifact under a root, finished or not, in the order of the stages."""
    for kind in KINDS:
        yield from parallel_map(partial(verify_artifact, store), artifacts(store, kind))


def artifacts(store: Store, kind: str) -> list[str]:
    """Paths of the artifacts of a kind, finished or not."""
    return [f"{kind}/{name}" for name in store.folders(kind)]


def verify_artifact(store: Store, path: str, *, with_inputs: bool = True) -> Verified:
    """Read and check one artifact.

    with_inputs: whether its inputs must be there, and be those that it was made from.
    """
    entries = list(store.files(path))
    names = {entry.path.removeprefix(f"{path}/") for entry in entries if not entry.link}
    problems = [f"{entry.path} is a link: undertow did not make it, remove it" for entry in entries if entry.link]
    manifest = _collecting_problems(problems, artifact.load, store, path)
    named = {(path, file) for file in manifest.files} if manifest else set()
    for name in sorted(names):
        named |= set(_collecting_problems(problems, _recorded, store, path, name) or ())
    for folder, file in sorted(named, key=lambda item: (item[0], item[1].place)):
        problems += _wrong(store, folder, file)
    for role, source in manifest.inputs.items() if manifest and with_inputs else ():
        problems += _changed(store, path, role, source)
    known = {f"{folder}/{file.place}".removeprefix(f"{path}/") for folder, file in named}
    unnamed = {name for name in names - known if name != MANIFEST and not OTHERS.fullmatch(name)}
    strays = sorted(name for name in unnamed if manifest and not _is_leftover(name, manifest))
    problems += [f"{path}/{name} is named by no record: undertow did not write it, remove it" for name in strays]
    size = sum(file.bytes for _, file in named)
    return Verified(path, MANIFEST in names, len(named), size, len(unnamed) - len(strays), problems)


def _collecting_problems(problems: list[str], read: Callable[..., Result], *args: Any) -> Result | None:
    """read(*args); on ArtifactError, append the message to `problems` and return None."""
    try:
        return read(*args)
    except ArtifactError as error:
        problems.append(str(error))
        return None


def _recorded(store: Store, path: str, name: str) -> list[tuple[str, File]]:
    """(folder, file) of every file named by the record of a unit or checkpoint; empty if `name` is no record."""
    record = RECORD.fullmatch(name)
    if record is None:
        return []
    if record["unit"]:
        return [(path, File(**file)) for file in (artifact.unit(store, path, record["unit"]) or {"files": []})["files"]]
    where = f"{path}/{name}"
    content = artifact.read_bytes(store, where)
    files = [] if content is None else artifact.without_checksum(content, where).get("files")
    return [(f"{path}/{record['checkpoint']}", file) for file in of_shape(list[File], files, where)]


def _is_leftover(name: str, manifest: Manifest) -> bool:
    """Whether a file in a finished artifact's folder may be a leftover of a failed attempt."""
    attempt = ATTEMPT.fullmatch(name)
    inner = attempt["inner"] if attempt else name
    return (
        inner in {file.path for file in manifest.files}
        or (attempt is not None and int(attempt["number"]) not in {file.attempt for file in manifest.files})
        or name.startswith(f"{CHECKPOINTS}/")
        or UNFINISHED.fullmatch(name) is not None
    )


def _wrong(store: Store, folder: str, file: File) -> list[str]:
    where = f"{folder}/{file.place}"
    with tempfile.TemporaryDirectory(prefix="undertow-") as scratch:
        copy = Path(scratch) / "copy"
        try:
            store.download(where, copy)
        except FileNotFoundError:
            return [f"{where} is missing"]
        except OSError as error:
            return [f"{where} cannot be read: {error.strerror}"]
        if artifact.digest(copy) != (file.bytes, file.sha256):
            return [f"{where} is damaged: its SHA-256 is not the recorded one"]
    return []


def _changed(store: Store, path: str, role: str, source: Json) -> list[str]:
    try:
        manifest = artifact.load(store, source["path"])
    except ArtifactError:
        return []  # reported with that artifact itself
    if manifest is None:
        return [f"{path}: its input {role}, {source['path']}, is missing"]
    if manifest.digest != source["manifest"]:
        return [f"{path}: its input {role}, {source['path']}, is not the one that it was made from"]
    return []
