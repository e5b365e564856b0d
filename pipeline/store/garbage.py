"""`undertow gc`: finds and removes files of artifacts that no manifest names."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from pipeline.core.errors import ArtifactError
from pipeline.store import Entry, Store, artifact, parallel_map
from pipeline.store.artifact import MANIFEST, SIGNATURES
from pipeline.store.removal import ARTIFACT, remove
from pipeline.store.step import KINDS
from pipeline.store.verify import RECORD, artifacts


@dataclass(frozen=True)
class Garbage:
    """The removable files of one artifact. finished: whether it has a manifest. records, files: in removal order.

    spared: why gc leaves a suspicious artifact alone; else "".
    """

    path: str
    finished: bool
    records: list[Entry]
    files: list[Entry]
    spared: str = ""

    @property
    def entries(self) -> list[Entry]:
        return [*self.records, *self.files]


def garbage(store: Store, before: datetime) -> Iterator[Garbage]:
    """Leftovers of failed attempts, unit records and checkpoints of finished steps, and unfinished artifacts.

    Of a finished artifact: the files that its manifest does not name and that are older than `before`. Of an
    unfinished one: everything, if all of it is older than `before`. Anything outside KIND/NAME-ID/ is left alone.
    """
    for path in (path for kind in KINDS for path in artifacts(store, kind)):
        if ARTIFACT.fullmatch(path):
            yield _garbage(store, path, before)


def collect(store: Store, found: Garbage, go_on: Callable[[], None]) -> list[Entry]:
    """Remove the garbage, after checking each file and the manifest again; returns what was removed.

    go_on: called before each removal; raises if the collection must end.
    Records go first: the next run would trust a record whose files are gone.
    """
    gone = parallel_map(partial(_remove, store, found, go_on), found.records)
    if all(gone):
        gone += parallel_map(partial(_remove, store, found, go_on), found.files)
    return [entry for entry, removed in zip(found.entries, gone, strict=False) if removed]


def _garbage(store: Store, path: str, before: datetime) -> Garbage:
    entries = list(store.files(path))
    if links := [entry.path for entry in entries if entry.link]:
        return Garbage(path, False, [], [], f"{links[0]} is a link, which gc does not follow")
    try:
        manifest = artifact.load(store, path)  # after the listing, so that it names every finished file listed
    except ArtifactError as error:
        return Garbage(path, False, [], [], str(error))
    if manifest:
        named = {f"{path}/{MANIFEST}"} | {f"{path}/{file.place}" for file in manifest.files}
        named |= {entry.path for entry in entries if entry.path.startswith(f"{path}/{SIGNATURES}/")}
        entries = [entry for entry in entries if entry.path not in named and entry.modified < before]
    elif any(entry.modified >= before for entry in entries):
        entries = []
    is_record = {entry: bool(RECORD.fullmatch(entry.path.removeprefix(f"{path}/"))) for entry in entries}
    records, files = ([entry for entry, record in is_record.items() if record is wanted] for wanted in (True, False))
    return Garbage(path, manifest is not None, records, files)


def _remove(store: Store, found: Garbage, go_on: Callable[[], None], entry: Entry) -> bool:
    go_on()
    if not found.finished and artifact.exists(store, found.path):
        return False
    return remove(store, entry.path, entry.modified)
