"""Checkpoints of a training run: complete and undamaged, or not used."""

import dataclasses
from pathlib import Path

from pipeline import artifact
from pipeline.artifact import File
from pipeline.copies import local_folder
from pipeline.store import Store

CHECKPOINTS = "checkpoints"  # the folder of an artifact that holds them


class Checkpoints:
    """The checkpoints of one run, each in `folder`/step-N-attempt of a store.

    Every rank adds its files and then a record that names them with their digests. A checkpoint counts when the
    records of all ranks are there; what an attempt that died halfway left behind lies in a folder of its own.
    """

    def __init__(self, store: Store, folder: str, every: int) -> None:
        self._store = store
        self._folder = folder
        self._every = every

    def due(self, step: int, steps: int) -> bool:
        """Whether to save after a step; the last one is saved as the result."""
        return step % self._every == 0 and step < steps

    def save(self, step: int, attempt: str, source: Path, rank: int, ranks: int) -> None:
        """Store what one rank wrote into the local folder `source`; attempt: a name that all ranks agreed on."""
        place = f"{self._folder}/step-{step:09d}-{attempt}"
        contents = {f"state/{name}": path for name, path in artifact.contents_of(source).items()}
        files = artifact.publish(self._store, place, contents)
        record = {"ranks": ranks, "files": [dataclasses.asdict(file) for file in files]}
        self._store.create(f"{place}/{_record(rank)}", artifact.sealed(record))

    def latest(self, ranks: int) -> str | None:
        """The newest checkpoint that is whole and of that many ranks."""
        for name in reversed(self._store.folders(self._folder)):
            records = [self._read(name, rank) for rank in range(ranks)]
            if all(record is not None and record["ranks"] == ranks for record in records):
                return name
        return None

    def fetch(self, name: str, ranks: int) -> Path:
        """The local folder of a whole checkpoint. Raises ArtifactError where a file of it is damaged."""
        records = [self._read(name, rank) for rank in range(ranks)]
        files = [File(**entry) for record in records if record for entry in record["files"]]
        return local_folder(self._store, f"{self._folder}/{name}", files, "state")

    def _read(self, name: str, rank: int) -> artifact.Json | None:
        place = f"{self._folder}/{name}/{_record(rank)}"
        try:
            return artifact.unsealed(self._store.read(place), place)
        except FileNotFoundError:
            return None


def _record(rank: int) -> str:
    return f"rank-{rank:05d}.json"
