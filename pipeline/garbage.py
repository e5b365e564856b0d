"""`undertow gc`: finds the files of artifacts that no manifest names any more."""

from collections.abc import Iterator
from datetime import datetime

from pipeline import artifact
from pipeline.artifact import MANIFEST
from pipeline.step import KINDS
from pipeline.store import Entry, Store
from pipeline.verify import artifacts


def garbage(store: Store, before: datetime) -> Iterator[Entry]:
    """Files of artifacts that no manifest names and that nobody has touched since `before`.

    Those are what attempts that died left behind, unit records and checkpoints of finished steps, and
    all of a step that was never finished. Notes and logs of studies are not artifacts.
    """
    for path in (path for kind in KINDS for path in artifacts(store, kind)):
        manifest = artifact.load(store, path)
        named = {MANIFEST} | {file.place for file in manifest.files} if manifest else set()
        for entry in store.files(path):
            if entry.path.removeprefix(f"{path}/") not in named and entry.modified < before:
                yield entry
