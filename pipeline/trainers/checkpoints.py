"""Checkpoints of a training run: complete and undamaged, or not used."""

import json
from dataclasses import asdict
from pathlib import Path

from pipeline import artifact
from pipeline.artifact import File
from pipeline.store import Store


class Checkpoints:
    """The checkpoints of one run, in `folder`/step-N of a store.

    Every rank adds its files and then a record that names them with their digests. A checkpoint counts
    when the records of all ranks are there and every file is what its record says.
    """

    def __init__(self, store: Store, folder: str, every: int) -> None:
        self._store = store
        self._folder = folder
        self._every = every

    def due(self, step: int, steps: int) -> bool:
        """Whether to save after a step; the last one is saved as the result."""
        return step % self._every == 0 and step < steps

    def save(self, step: int, source: Path, rank: int, ranks: int) -> None:
        """Store what one rank wrote into the local folder `source`."""
        place = self._place(step)
        files = artifact.add_folder(self._store, place, "state", source)
        record = {"ranks": ranks, "files": [asdict(file) for file in files]}
        self._store.create(f"{place}/rank-{rank:05d}.json", json.dumps(record).encode())

    def latest(self, ranks: int) -> Path | None:
        """The local folder of the newest checkpoint that is whole and of that many ranks."""
        for name in reversed(self._store.folders(self._folder)):
            place = f"{self._folder}/{name}"
            if all(self._is_whole(place, rank, ranks) for rank in range(ranks)):
                return self._store.local(f"{place}/state")
        return None

    def _place(self, step: int) -> str:
        return f"{self._folder}/step-{step:09d}"

    def _is_whole(self, place: str, rank: int, ranks: int) -> bool:
        try:
            record = json.loads(self._store.read(f"{place}/rank-{rank:05d}.json"))
        except FileNotFoundError:
            return False
        files = [File(**entry) for entry in record["files"]]
        return record["ranks"] == ranks and all(artifact.matches(self._store, place, file) for file in files)
