"""Checkpoints of a training run in a store, used only if complete, undamaged and of the same run."""

import contextlib
import dataclasses
import json
import logging
import re
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipeline.core.errors import ArtifactError, UserError
from pipeline.store import Store, artifact
from pipeline.store.artifact import File
from pipeline.store.removal import remove

NAME = re.compile(r"step-(\d{9})-[0-9a-z]+")
logger = logging.getLogger(__name__)


class Entry(BaseModel):
    """One entry of schemas.TRAINING_LOG."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    step: int
    epoch: float
    loss: float
    learning_rate: float
    tokens: int
    seconds: float


class Progress(BaseModel):
    """The state of a checkpoint apart from its tensors: its step, log and DeepSpeed's counters.

    accumulation: forward passes per optimiser step and rank.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    step: int
    accumulation: int
    global_steps: int
    global_samples: int
    skipped_steps: int
    log: list[Entry]


def tensors_name(rank: int) -> str:
    return f"rank-{rank:05d}.safetensors"


def progress_name(rank: int) -> str:
    return f"rank-{rank:05d}.json"


class Checkpoints:
    """The checkpoints of one run, each in `folder`/step-N-attempt of a store.

    Every rank writes its files, then a record with their digests, step and rank. A checkpoint counts once the records
    of all ranks exist. Loading one executes no code: the files are safetensors and JSON. An unusable checkpoint is
    skipped with a warning, since an older one or a fresh start gives the same result.
    """

    def __init__(self, store: Store, folder: str, seconds: float) -> None:
        self._store = store
        self._folder = folder
        self._seconds = seconds
        self._last = time.monotonic()
        self._any = False  # whether this process has seen or written one

    def due(self, step: int, steps: int) -> bool:
        """Whether to save after a step, by this process's clock. Never after the last step, which saves the result."""
        return step < steps and time.monotonic() - self._last >= self._seconds

    def save(self, step: int, attempt: str, source: Path, rank: int, ranks: int) -> str:
        """Store one rank's files from the local folder `source`; returns the checkpoint's name.

        attempt: a name unique to this save and the same on all ranks.
        """
        name = f"step-{step:09d}-{attempt}"
        place = f"{self._folder}/{name}"
        contents = {f"state/{path}": content for path, content in artifact.contents_of(source).items()}
        files = artifact.write_files(self._store, place, contents)
        record = _identity(place, step, rank, ranks) | {"files": [dataclasses.asdict(file) for file in files]}
        self._store.create(f"{place}/{_record(rank)}", artifact.with_checksum(record))
        self._last, self._any = time.monotonic(), True
        return name

    def latest(self, ranks: int, passed_over: Collection[str] = ()) -> str | None:
        """The newest complete checkpoint with this number of ranks, except those in `passed_over`."""
        names = self._store.folders(self._folder)
        self._any |= bool(names)
        for name in reversed(names):
            if name not in passed_over and self._whole(name, ranks):
                return name
        return None

    def progress(self, name: str, rank: int, ranks: int) -> Progress:
        """The progress of a rank. Raises ArtifactError if it is not as saved."""
        file = self._file(name, rank, ranks, progress_name(rank))
        place = f"{self._folder}/{name}/{file.place}"
        with _damage_named(place):
            content = self._store.read(place)
        _require_same(content, file, place)
        return parse_progress(content, _step(name), place)

    def tensors(self, name: str, rank: int, ranks: int, scratch: Path) -> Path:
        """A copy of a rank's tensors in the local folder `scratch`. Raises ArtifactError if it is not as saved."""
        file = self._file(name, rank, ranks, tensors_name(rank))
        place = f"{self._folder}/{name}/{file.place}"
        copy = scratch / tensors_name(rank)
        with _damage_named(place):
            self._store.download(place, copy)
        _require_same(copy, file, place)
        return copy

    def keep_only(self, name: str) -> None:
        """Remove checkpoints of earlier steps than this complete one. Other writers may have written later ones."""
        self._remove([other for other in self._names() if other < name.rsplit("-", 1)[0]])

    def clear(self) -> None:
        """Remove all checkpoints, once the run's result is recorded."""
        if self._any:
            self._remove(self._names())

    def _names(self) -> list[str]:
        return [name for name in self._store.folders(self._folder) if NAME.fullmatch(name)]

    def _whole(self, name: str, ranks: int) -> bool:
        if not NAME.fullmatch(name):
            return False
        try:
            return all(self._read(name, rank, ranks) is not None for rank in range(ranks))
        except ArtifactError as error:
            logger.warning("a checkpoint is passed over: %s", error)
            return False

    def _read(self, name: str, rank: int, ranks: int) -> artifact.Json | None:
        """A rank's record; None if there is none. Raises ArtifactError if it is damaged or of another checkpoint."""
        place = f"{self._folder}/{name}"
        try:
            record = artifact.without_checksum(self._store.read(f"{place}/{_record(rank)}"), f"{place}/{_record(rank)}")
        except FileNotFoundError:
            return None
        wanted = _identity(place, _step(name), rank, ranks)
        differing = [key for key, value in wanted.items() if record.get(key) != value]
        if differing:
            raise ArtifactError(
                f"{place}/{_record(rank)} is not the record of rank {rank} of {ranks}: {differing[0]} differs"
            )
        return record

    def _file(self, name: str, rank: int, ranks: int, wanted: str) -> File:
        record = self._read(name, rank, ranks)
        if record is None:
            raise ArtifactError(f"{self._folder}/{name} has no {_record(rank)}")
        return _files(record, f"{self._folder}/{name}/{_record(rank)}", rank)[f"state/{wanted}"]

    def _remove(self, names: list[str]) -> None:
        """Remove records first, so that no record ever names a missing file. If the store forbids it, gc remains."""
        try:
            for name in names:
                entries = sorted(self._store.files(f"{self._folder}/{name}"), key=lambda entry: "/state/" in entry.path)
                for entry in entries:
                    remove(self._store, entry.path)
        except UserError as error:
            logger.warning("checkpoints that are no longer needed stay in %s: %s", self._folder, error)


def parse_progress(content: bytes, step: int, place: str) -> Progress:
    """The progress of a run at `step`. Raises ArtifactError naming `place` if the content is anything else."""
    try:
        found = Progress.model_validate(json.loads(content))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{place} is malformed: {error}") from None
    if found.step != step or [entry.step for entry in found.log] != [*range(1, step + 1)]:
        raise ArtifactError(f"{place} is of another step")
    return found


def _identity(place: str, step: int, rank: int, ranks: int) -> artifact.Json:
    return {"path": place, "step": step, "rank": rank, "ranks": ranks}


def _files(record: artifact.Json, place: str, rank: int) -> dict[str, File]:
    """Path -> the two files of a rank. Raises ArtifactError if its record, at `place`, names others."""
    try:
        files = {file.path: file for file in (File(**entry) for entry in record["files"])}
    except (TypeError, KeyError, ValueError) as error:
        raise ArtifactError(f"{place} is malformed: {error}") from None
    wanted = {f"state/{tensors_name(rank)}", f"state/{progress_name(rank)}"}
    if files.keys() != wanted or any(file.attempt != 1 for file in files.values()):
        raise ArtifactError(f"{place} names other files than a checkpoint has: {sorted(map(str, files))}")
    return files


@contextlib.contextmanager
def _damage_named(place: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ArtifactError(f"{place} is missing though its record names it") from None


def _require_same(content: bytes | Path, file: File, place: str) -> None:
    if artifact.digest(content) != (file.bytes, file.sha256):
        raise ArtifactError(f"{place} is damaged: its SHA-256 is not the recorded one")


def _step(name: str) -> int:
    return int(name.split("-")[1])


def _record(rank: int) -> str:
    return f"rank-{rank:05d}.json"
