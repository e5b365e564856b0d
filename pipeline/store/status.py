"""Where a run stands: the note that a driver leaves under the root, and how anybody reads it.

The note is a convenience and no artifact: what the next run finds done, the manifests alone decide.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Annotated

from pydantic import Field, TypeAdapter

from pipeline.core.errors import StoreError
from pipeline.store import Store, artifact, parallel_map
from pipeline.store.removal import ARTIFACT
from pipeline.store.step import KINDS, Step

FOLDER = "studies"
NOTE, STEPS = "status.json", "steps.json"
FAILURES = 20  # failed steps that a note names
HEARTBEAT_SECONDS = 2.0  # how often a driver writes its note
PACE = "this run's pace"
STALE_SECONDS = 30.0  # a note older than this is shown as that of a driver that is gone; gc asks its lease
STATUS_LIMIT, STEPS_LIMIT = 1 << 20, 1 << 28  # bytes: a note has a few thousand, a list of a million steps 100 MB

Counts = dict[Annotated[str, Field(pattern=f"^({'|'.join(KINDS)})$")], Annotated[int, Field(ge=0, le=10**12)]]
Seconds = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class RunStatus:
    """What a driver knows, in counts: it is as long for ten thousand traits as for two.

    steps, done, running, failed: kind -> steps. until: the kind that the run ends with, or "": steps counts those up to
    it. why: path -> reason of the first FAILURES that failed. refused: path -> reason, of gates that refused a teacher.
    pools: "role family" -> (workers, units at work, units waiting, workers that died). times: UNIX seconds.
    expected: kind -> seconds between two finished steps, as forecast when the run began; expected_from: kind -> what
    that rests on. begun: kind -> when the first step of it began in this run.
    """

    study: str
    steps: Counts
    started: Seconds
    heartbeat: Seconds
    ended: bool
    process: int
    done: Counts = field(default_factory=dict)
    done_at_start: Counts = field(default_factory=dict)
    running: Counts = field(default_factory=dict)
    failed: Counts = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    pools: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    until: str = ""
    expected: dict[str, Seconds] = field(default_factory=dict)
    expected_from: dict[str, str] = field(default_factory=dict)
    begun: dict[str, Seconds] = field(default_factory=dict)


def folder(study: str, steps: Sequence[Step]) -> str:
    """Where the note, the list of steps and the logs of a study lie: named for the study and its last step."""
    return f"{FOLDER}/{study}-{steps[-1].id}"


def log(place: str, path: str) -> str:
    """Where the log of a step lies: JSON lines."""
    return f"{place}/logs/{path}.jsonl"


def counts(paths: Iterable[str]) -> dict[str, int]:
    """kind -> how many of the paths are of it."""
    return dict(Counter(path.split("/")[0] for path in paths))


def new_status(
    study: str,
    steps: Sequence[Step],
    done: Iterable[str],
    expected: Mapping[str, tuple[float, str]] | None = None,
    until: str = "",
) -> RunStatus:
    """expected: kind -> (seconds between two finished steps, what that rests on)."""
    now = time.time()
    at_start = counts(done)
    total = counts(step.path for step in steps)
    return RunStatus(
        study,
        total,
        now,
        now,
        False,
        os.getpid(),
        done=at_start,
        done_at_start=at_start,
        until=until,
        expected={kind: seconds for kind, (seconds, _) in (expected or {}).items()},
        expected_from={kind: basis for kind, (_, basis) in (expected or {}).items()},
    )


def begin(store: Store, place: str, note: RunStatus, steps: Sequence[Step]) -> bool:
    """Leave the note and the list of steps; whether the study has run under this root before."""
    again = store.exists(f"{place}/{NOTE}")
    store.replace(f"{place}/{STEPS}", json.dumps([step.path for step in steps]).encode())
    write(store, place, note)
    return again


def write(store: Store, place: str, note: RunStatus) -> None:
    store.replace(f"{place}/{NOTE}", json.dumps(asdict(note)).encode())


def read(store: Store) -> tuple[dict[str, RunStatus], list[str]]:
    """Place -> note of every study under a root, and a message for each note that cannot be read."""
    notes, unreadable = {}, []
    for name in store.folders(FOLDER):
        place = f"{FOLDER}/{name}/{NOTE}"
        try:
            notes[f"{FOLDER}/{name}"] = TypeAdapter(RunStatus).validate_json(store.read(place, STATUS_LIMIT))
        except FileNotFoundError:
            continue  # its driver has not written one yet
        except (ValueError, IsADirectoryError):
            unreadable.append(f"{store.root}/{place} is not a status that this version of undertow reads")
        except StoreError as error:
            unreadable.append(str(error))
    return notes, unreadable


def done(store: Store, place: str, note: RunStatus) -> dict[str, int]:
    """kind -> finished steps: as the note says, or, where its driver died before its last word, as the manifests do."""
    said = {kind: note.done.get(kind, 0) for kind in note.steps}
    if note.ended or is_alive(note):
        return said
    try:
        listed = TypeAdapter(list[str]).validate_json(store.read(f"{place}/{STEPS}", STEPS_LIMIT))
    except (OSError, ValueError, StoreError):
        return said
    paths = [path for path in listed if ARTIFACT.fullmatch(path)]
    found = parallel_map(partial(artifact.exists, store), paths)
    finished = counts(path for path, exists in zip(paths, found, strict=True) if exists)
    return {kind: finished.get(kind, 0) for kind in note.steps}


def is_alive(note: RunStatus, seconds: float = STALE_SECONDS) -> bool:
    """Whether a driver is at work on the study: it gave a sign of life within so many seconds."""
    return not note.ended and time.time() - note.heartbeat < seconds


def state(note: RunStatus, finished: Mapping[str, int]) -> str:
    """complete, running, ended (without what), or interrupted."""
    if finished == note.steps:
        return f"complete up to {note.until}: run it without --until to go on" if note.until else "complete"
    if is_alive(note):
        return "running"
    if note.refused and not any(note.failed.values()):
        return "ended without the teachers that their gates refused"
    return "ended with failures" if any(note.failed.values()) else "interrupted: run the same command again to go on"


def eta_seconds(note: RunStatus, finished: Mapping[str, int]) -> float | None:
    """Time left, one stage after the other; None while some stage has neither a pace nor a forecast."""
    stages = [stage_left(note, finished, kind) for kind in note.steps]
    return None if None in stages else sum(stage[0] for stage in stages if stage)


def eta(note: RunStatus, finished: Mapping[str, int]) -> str:
    """Time left in words: how long, what that rests on, and the stages that it leaves out."""
    stages = {kind: stage_left(note, finished, kind) for kind in note.steps}
    unknown = ", ".join(kind for kind, left in stages.items() if left is None)
    known = [left for left in stages.values() if left and left[0]]
    if not known and unknown:
        return f"not known before a step of {unknown} is finished"
    seconds = sum(left[0] for left in known)
    about = f"about {seconds / 60:.0f} min" if seconds >= 60 else "less than a minute"
    basis = " and ".join(dict.fromkeys(left[1] for left in known)) or PACE
    return f"{about}, from {basis}" + (f"; not counted, for want of a rate: {unknown}" if unknown else "")


def stage_left(note: RunStatus, finished: Mapping[str, int], kind: str) -> tuple[float, str] | None:
    """Seconds left of one stage and what they rest on: its pace in this run, else the forecast; None without either."""
    todo = note.steps[kind] - finished.get(kind, 0)
    made = finished.get(kind, 0) - note.done_at_start.get(kind, 0)
    if not todo:
        return 0.0, PACE
    if made:
        return (note.heartbeat - note.begun.get(kind, note.started)) * todo / made, PACE
    if kind in note.expected:
        return note.expected[kind] * todo, note.expected_from.get(kind, "a forecast")
    return None
