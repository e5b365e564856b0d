"""Where a run stands: the note that a driver leaves under the root, and how anybody reads it.

The note is a convenience and no artifact: what is done, the manifests alone decide.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

from pipeline import artifact
from pipeline.plan import KINDS, Step
from pipeline.store import Store, at_once

FOLDER = "studies"
BEAT_SECONDS = 2.0  # how often a driver writes its note
STALE_SECONDS = 30.0  # a note older than this is of a driver that is gone


@dataclass(frozen=True)
class Note:
    """What a driver knows. times: UNIX seconds; pools: name -> (members, at work, waiting)."""

    study: str
    steps: dict[str, list[str]]  # kind -> paths
    started: float
    beat: float
    ended: bool
    process: int
    running: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    pools: dict[str, Sequence[int]] = field(default_factory=dict)
    done_at_start: dict[str, int] = field(default_factory=dict)  # kind -> steps


def folder(study: str, steps: Sequence[Step]) -> str:
    """Where the note and the logs of a study lie: named for the study and its last step."""
    return f"{FOLDER}/{study}-{steps[-1].id}"


def write(store: Store, place: str, note: Note) -> None:
    store.replace(f"{place}/status.json", json.dumps(asdict(note)).encode())


def by_kind(steps: Iterable[Step]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for step in steps:
        found[step.kind].append(step.path)
    return found


def new_note(study: str, steps: Sequence[Step], done: Iterable[str]) -> Note:
    now = time.time()
    at_start = Counter(path.split("/")[0] for path in done)
    return Note(study, by_kind(steps), now, now, False, os.getpid(), done_at_start=dict(at_start))


def read(store: Store) -> list[Note]:
    """The notes of every study under a root."""
    notes = []
    for name in store.folders(FOLDER):
        try:
            notes.append(Note(**json.loads(store.read(f"{FOLDER}/{name}/status.json"))))
        except FileNotFoundError:
            continue  # its driver has not written one yet
    return notes


def done(store: Store, note: Note) -> dict[str, int]:
    """kind -> steps whose artifacts exist now."""
    return {kind: sum(at_once(partial(artifact.exists, store), paths)) for kind, paths in note.steps.items()}


def is_alive(note: Note) -> bool:
    """Whether a driver is at work on the study."""
    return not note.ended and time.time() - note.beat < STALE_SECONDS


def state(note: Note, finished: Mapping[str, int]) -> str:
    """complete, running, ended with failures, or interrupted."""
    if all(finished[kind] == len(paths) for kind, paths in note.steps.items()):
        return "complete"
    if is_alive(note):
        return "running"
    return "ended with failures" if note.failed else "interrupted: run the same command again to go on"


def eta_seconds(note: Note, finished: Mapping[str, int]) -> float | None:
    """Time left at this run's own pace of each kind; None while some kind has no pace yet."""
    elapsed = note.beat - note.started
    left = 0.0
    for kind, paths in note.steps.items():
        made = finished[kind] - note.done_at_start.get(kind, 0)
        todo = len(paths) - finished[kind]
        if todo and not made:
            return None
        left += elapsed * todo / made if todo else 0.0
    return left
