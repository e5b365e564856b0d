"""`undertow verify`: reads every byte under a root again and checks it."""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline import artifact
from pipeline.artifact import MANIFEST, UNITS, File, Json
from pipeline.errors import ArtifactError
from pipeline.step import KINDS
from pipeline.store import Store, at_once
from pipeline.trainers.checkpoints import CHECKPOINTS

RECORD = re.compile(rf"{MANIFEST}|{UNITS}/[^/]+\.json|{CHECKPOINTS}/[^/]+/rank-\d+\.json")  # what carries a seal


@dataclass(frozen=True)
class Verified:
    """What was read of one artifact, finished or not, and what is wrong with it, a line each."""

    path: str
    finished: bool
    files: int
    bytes: int
    problems: list[str]


def verify(store: Store) -> Iterator[Verified]:
    """Read every artifact under a root, finished or not, and check it; in the order of the stages."""
    for kind in KINDS:
        yield from at_once(partial(_verify, store), artifacts(store, kind))


def artifacts(store: Store, kind: str) -> list[str]:
    """Paths of the artifacts of a kind, finished or not."""
    return [f"{kind}/{name}" for name in store.folders(kind)]


def _verify(store: Store, path: str) -> Verified:
    problems: list[str] = []
    named: set[tuple[str, File]] = set()
    inputs: Json = {}
    names = {entry.path.removeprefix(f"{path}/") for entry in store.files(path)}
    for name in filter(RECORD.fullmatch, sorted(names)):
        try:
            record = artifact.unsealed(store.read(f"{path}/{name}"), f"{path}/{name}")
        except ArtifactError as error:
            problems.append(str(error))
            continue
        folder = path if not name.startswith(f"{CHECKPOINTS}/") else f"{path}/{name.rsplit('/', 1)[0]}"
        named |= {(folder, File(**file)) for file in record["files"]}
        inputs = record.get("inputs", inputs)
    for folder, file in sorted(named, key=lambda item: (item[0], item[1].place)):
        problems += _wrong(store, folder, file)
    for role, source in inputs.items():
        problems += _changed(store, path, role, source)
    return Verified(path, MANIFEST in names, len(named), sum(file.bytes for _, file in named), problems)


def _wrong(store: Store, folder: str, file: File) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="undertow-") as scratch:
        copy = Path(scratch) / "copy"
        try:
            store.download(f"{folder}/{file.place}", copy)
        except FileNotFoundError:
            return [f"{folder}/{file.place} is missing"]
        if artifact.measured(copy) != (file.bytes, file.sha256):
            return [f"{folder}/{file.place} is damaged: its SHA-256 is not the recorded one"]
    return []


def _changed(store: Store, path: str, role: str, source: Json) -> list[str]:
    try:
        manifest = artifact.load(store, source["path"])
    except ArtifactError:
        return []  # told where it stands
    if manifest is None:
        return [f"{path}: its input {role}, {source['path']}, is missing"]
    if manifest.digest != source["manifest"]:
        return [f"{path}: its input {role}, {source['path']}, is not the one that it was made from"]
    return []
