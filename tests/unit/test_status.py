"""The note that a driver leaves: what others read from it, whatever became of the driver."""

import dataclasses
import time
from collections.abc import Callable

import pytest

from pipeline import artifact, status
from pipeline.plan import Step, plan
from pipeline.status import Note, done, eta_seconds, folder, new_note, read, state, write
from pipeline.store import Store
from pipeline.study import Study

STEPS = {"base": ["base/a", "base/b"], "student": ["student/a", "student/b", "student/c", "student/d"]}


def note(**changes: object) -> Note:
    fresh = Note("small", STEPS, started=time.time() - 60, beat=time.time(), ended=False, process=1)
    return dataclasses.replace(fresh, **changes)  # type: ignore[arg-type]


def test_a_note_is_read_as_it_was_written_and_the_last_one_counts(store: Store) -> None:
    first, last = note(), note(running=["base/a"], pools={"engine": [1, 2, 3]}, failed={"base/b": "no room"})
    write(store, "studies/small-1", first)
    write(store, "studies/small-1", last)
    assert read(store) == [last]


def test_notes_of_every_study_are_found_and_one_not_yet_written_is_passed_over(store: Store) -> None:
    assert read(store) == []
    for name in ("b", "a"):
        write(store, f"studies/{name}-1", note(study=name))
    store.create("studies/c-1/logs/base/x.log", b"")
    assert [found.study for found in read(store)] == ["a", "b"]


def test_what_is_done_the_manifests_decide(
    rehearsal: tuple[Study, list[Step], Store], store: Store, study: Callable[..., Study]
) -> None:
    made, steps, place = rehearsal
    about = new_note(made.study, steps, [step.path for step in steps if step.kind == "base"])
    assert done(place, about) == {kind: len(paths) for kind, paths in about.steps.items()}
    assert state(about, done(place, about)) == "complete"
    assert set(done(store, about).values()) == {0}
    assert about.done_at_start == {"base": 2}


@pytest.mark.parametrize(
    ("changes", "finished", "said"),
    [
        ({}, (0, 0), "running"),
        ({"ended": True, "failed": {"base/a": "why"}}, (1, 0), "ended with failures"),
        ({"ended": True}, (1, 0), "interrupted"),
        ({"beat": time.time() - 3600}, (1, 0), "interrupted"),
        ({"beat": time.time() - 3600, "failed": {"base/a": "why"}}, (1, 0), "ended with failures"),
        ({"failed": {"base/a": "why"}}, (1, 0), "running"),
        ({"ended": True, "failed": {"base/a": "why"}}, (2, 4), "complete"),
        ({"beat": time.time() - 3600}, (2, 4), "complete"),
    ],
)
def test_the_state_of_a_study(changes: dict[str, object], finished: tuple[int, int], said: str) -> None:
    assert state(note(**changes), dict(zip(STEPS, finished, strict=True))).startswith(said)


def test_time_left_is_what_is_left_at_this_runs_own_pace() -> None:
    begun = note(started=1000.0, beat=1060.0, done_at_start={"base": 1})
    assert eta_seconds(begun, {"base": 2, "student": 1}) == pytest.approx(60 * 3)
    assert eta_seconds(begun, {"base": 2, "student": 4}) == 0.0


def test_time_left_is_unknown_while_a_stage_has_made_nothing_in_this_run() -> None:
    assert eta_seconds(note(), {"base": 2, "student": 0}) is None
    assert eta_seconds(note(done_at_start={"student": 2}), {"base": 2, "student": 2}) is None


def test_a_study_and_its_settings_name_the_folder(study: Callable[..., Study]) -> None:
    steps, other = plan(study()), plan(study(seed=2))
    assert folder("rehearsal", steps).startswith("studies/rehearsal-")
    assert folder("rehearsal", steps) != folder("rehearsal", other)
    assert folder("rehearsal", steps) == folder("rehearsal", plan(study(resources={"engines": {"members": 4}})))


def test_writing_notes_disturbs_no_artifact(store: Store) -> None:
    write(store, "studies/small-1", note())
    assert artifact.load(store, "studies/small-1") is None
    assert status.FOLDER == "studies"
