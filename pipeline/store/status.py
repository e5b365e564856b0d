"""The status of a run: the file that a driver writes under the root, and how others read it.

The status file is a convenience, not an artifact: only manifests decide what the next run treats as done.
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
FAILURES = 20  # maximum number of failed steps named in a status file
HEARTBEAT_SECONDS = 2.0  # interval at which a driver writes its status
PACE = "this run's pace"
STALE_SECONDS = 30.0  # after this, `undertow status` shows the driver as gone; gc relies on the lease instead
STATUS_LIMIT, STEPS_LIMIT = 1 << 20, 1 << 28  # bytes; a status has a few thousand, a list of a million steps 100 MB

Counts = dict[Annotated[str, Field(pattern=f"^({'|'.join(KINDS)})$")], Annotated[int, Field(ge=0, le=10**12)]]
Seconds = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class RunStatus:
    """The progress of a run, in counts: its size does not grow with the number of traits.

    steps, done, running, failed: kind -> number of steps. until: the last kind of the run, or ""; steps counts those up
    to it. why: path -> reason for the first FAILURES failed steps. refused: path -> reason, for gates that refused a
    teacher. pools: "role family" -> (workers, running units, waiting units, dead workers). All times: UNIX seconds.
    expected: kind -> seconds between two finished steps, as estimated when the run began; expected_from: kind -> the
    basis of that estimate. begun: kind -> when its first step began in this run.
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
    """The folder of a study's status, list of steps and logs, named for the study and its last step."""
    return f"{FOLDER}/{study}-{steps[-1].id}"


def log(place: str, path: str) -> str:
    """The path of a step's log, in JSON lines."""
    return f"{place}/logs/{path}.jsonl"


def counts(paths: Iterable[str]) -> dict[str, int]:
    """kind -> number of paths of that kind."""
    return dict(Counter(path.split("/")[0] for path in paths))


def new_status(
    study: str,
    steps: Sequence[Step],
    done: Iterable[str],
    expected: Mapping[str, tuple[float, str]] | None = None,
    until: str = "",
) -> RunStatus:
    """The status of a run that starts now. expected: kind -> (seconds between two finished steps, their basis)."""
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
    """Write the status and the list of steps. Returns whether the study has run under this root before."""
    again = store.exists(f"{place}/{NOTE}")
    store.replace(f"{place}/{STEPS}", json.dumps([step.path for step in steps]).encode())
    write(store, place, note)
    return again


def write(store: Store, place: str, note: RunStatus) -> None:
    store.replace(f"{place}/{NOTE}", json.dumps(asdict(note)).encode())


def read(store: Store) -> tuple[dict[str, RunStatus], list[str]]:
    """Folder -> status of every study under a root, and a message for each status that cannot be read."""
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
    """kind -> finished steps: from the status or, if its driver died before the end, from the manifests."""
    noted = {kind: note.done.get(kind, 0) for kind in note.steps}
    if note.ended or is_alive(note):
        return noted
    try:
        listed = TypeAdapter(list[str]).validate_json(store.read(f"{place}/{STEPS}", STEPS_LIMIT))
    except (OSError, ValueError, StoreError):
        return noted
    paths = [path for path in listed if ARTIFACT.fullmatch(path)]
    found = parallel_map(partial(artifact.exists, store), paths)
    finished = counts(path for path, exists in zip(paths, found, strict=True) if exists)
    return {kind: finished.get(kind, 0) for kind in note.steps}


def is_alive(note: RunStatus, seconds: float = STALE_SECONDS) -> bool:
    """Whether a driver is working on the study: its last heartbeat is less than `seconds` old."""
    return not note.ended and time.time() - note.heartbeat < seconds


def state(note: RunStatus, finished: Mapping[str, int]) -> str:
    """complete, running, ended (and what is missing), or interrupted."""
    if finished == note.steps:
        return f"complete up to {note.until}: run it without --until to go on" if note.until else "complete"
    if is_alive(note):
        return "running"
    if note.refused and not any(note.failed.values()):
        return "ended without the teachers that their gates refused"
    return "ended with failures" if any(note.failed.values()) else "interrupted: run the same command again to go on"


def eta_seconds(note: RunStatus, finished: Mapping[str, int]) -> float | None:
    """Seconds left if stages run one after the other; None while a stage has neither a pace nor an estimate."""
    stages = [stage_left(note, finished, kind) for kind in note.steps]
    return None if None in stages else sum(stage[0] for stage in stages if stage)


def eta(note: RunStatus, finished: Mapping[str, int]) -> str:
    """Time left in words: how long, on what basis, and which stages are not counted."""
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
    """Seconds left of one stage and their basis: its pace in this run, else the estimate; None without either."""
    todo = note.steps[kind] - finished.get(kind, 0)
    made = finished.get(kind, 0) - note.done_at_start.get(kind, 0)
    if not todo:
        return 0.0, PACE
    if made:
        return (note.heartbeat - note.begun.get(kind, note.started)) * todo / made, PACE
    if kind in note.expected:
        return note.expected[kind] * todo, note.expected_from.get(kind, "an estimate")
    return None
