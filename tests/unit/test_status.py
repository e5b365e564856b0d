"""The note that a driver leaves: what others read from it, whatever became of the driver."""

import dataclasses
import json
import time
from collections.abc import Callable

import pytest
from rich.console import Console

from jobs.commands.summary import show_status
from pipeline.plan.planner import plan
from pipeline.store import Store, artifact, status
from pipeline.store.status import (
    RunStatus,
    begin,
    done,
    eta,
    eta_seconds,
    folder,
    new_status,
    read,
    stage_left,
    state,
    write,
)
from pipeline.store.step import Step
from pipeline.study.schema import Study

STEPS = {"base": 2, "student": 4}


def note(**changes: object) -> RunStatus:
    fresh = RunStatus("small", STEPS, started=time.time() - 60, heartbeat=time.time(), ended=False, process=1)
    return dataclasses.replace(fresh, **changes)  # type: ignore[arg-type]


def test_a_note_is_read_as_it_was_written_and_the_last_one_counts(store: Store) -> None:
    first, last = note(), note(running={"base": 1}, pools={"engine": (1, 2, 3, 4)}, why={"base/b": "no room"})
    write(store, "studies/small-1", first)
    write(store, "studies/small-1", last)
    assert read(store) == ({"studies/small-1": last}, [])


def test_notes_of_every_study_are_found_and_one_not_yet_written_is_passed_over(store: Store) -> None:
    assert read(store) == ({}, [])
    for name in ("b", "a"):
        write(store, f"studies/{name}-1", note(study=name))
    store.create("studies/c-1/logs/base/x.jsonl", b"")
    assert [found.study for found in read(store)[0].values()] == ["a", "b"]


def test_a_note_with_fields_of_a_later_version_is_read(store: Store) -> None:
    written = dataclasses.asdict(note()) | {"later": {"a": 1}}
    store.create("studies/new-1/status.json", json.dumps(written).encode())
    assert [found.study for found in read(store)[0].values()] == ["small"]


FIELDS = {"study": "small", "steps": {"base": 2}, "started": 0.0, "heartbeat": 1.0, "ended": False, "process": 1}
BROKEN = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe{}",
    b"[" * 100_000,
    b" " * 2_000_000,
    json.dumps({"study": "old", "stages": []}).encode(),
    *(
        json.dumps(FIELDS | change).encode()
        for change in (
            {"steps": ["base"]},
            {"steps": {"base": "two"}},
            {"steps": {"[/b]": 2}},
            {"steps": {"base": -1}},
            {"steps": {"base": 10**400}},
            {"started": None},
            {"heartbeat": float("nan")},
            {"heartbeat": float("inf")},
            {"done": [1]},
            {"why": {"base/x": 1}},
            {"pools": {"engine": [1, 2]}},
            {"study": 5},
        )
    ),
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_note_that_cannot_be_read_is_named_and_hides_no_other(
    store: Store, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    store.create("studies/broken-1/status.json", content)
    write(store, "studies/small-1", note(ended=True))
    notes, unreadable = read(store)
    assert list(notes) == ["studies/small-1"]
    assert ["studies/broken-1/status.json" in message for message in unreadable] == [True]
    show_status(Console(width=200), store)
    said = capsys.readouterr().out
    assert "studies/broken-1/status.json" in said
    assert "small: " in said


def test_markup_in_a_note_and_in_a_folders_name_is_shown_as_it_is(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = note(study="[/b]", why={"[/b]": "[/b]"}, failed={"base": 1}, pools={"[/b]": (1, 1, 1, 1)})
    write(store, "studies/[b]-1", odd)
    show_status(Console(width=200), store)
    said = capsys.readouterr().out
    assert said.count("[/b]") >= 5
    assert "studies/[b]-1/logs" in said


@pytest.mark.parametrize("steps", [None, b"{", b"[1]", b'["../../etc/passwd", "/x", ""]', b"\xff"])
def test_without_a_list_of_steps_what_is_done_is_what_the_note_says(store: Store, steps: bytes | None) -> None:
    killed = note(heartbeat=time.time() - 3600, done={"base": 1})
    if steps is not None:
        store.create("studies/small-1/steps.json", steps)
    assert done(store, "studies/small-1", killed)["student"] == 0


def test_a_note_is_as_long_for_many_steps_as_for_few(study: Callable[..., Study], store: Store) -> None:
    sizes = []
    for targets in (["owl"], ["owl", *(f"thing-{i}" for i in range(50))]):
        steps = plan(study(traits=[{"category": "thing", "targets": targets}]))
        write(store, "studies/small-1", new_status("small", steps, []))
        sizes.append(len(store.read("studies/small-1/status.json")))
    assert sizes[1] < sizes[0] + 50


def test_a_driver_learns_whether_the_study_ran_here_before(store: Store) -> None:
    assert begin(store, "studies/small-1", note(), []) is False
    assert begin(store, "studies/small-1", note(), []) is True


def test_what_is_done_is_what_a_living_driver_says_and_what_the_manifests_say_of_a_killed_one(
    fake_copy: tuple[Study, list[Step], Store], store: Store, study: Callable[..., Study]
) -> None:
    made, steps, place = fake_copy
    about = new_status(made.study, steps, [step.path for step in steps if step.kind == "base"])
    killed = dataclasses.replace(about, heartbeat=time.time() - 3600)
    for somewhere in (place, store):
        begin(somewhere, "studies/r-1", about, steps)
        assert done(somewhere, "studies/r-1", about) == dict.fromkeys(about.steps, 0) | {"base": 2}
    assert done(place, "studies/r-1", killed) == about.steps
    assert state(killed, done(place, "studies/r-1", killed)) == "complete"
    assert set(done(store, "studies/r-1", killed).values()) == {0}
    assert about.done_at_start == {"base": 2}


@pytest.mark.parametrize(
    ("changes", "finished", "said"),
    [
        ({}, (0, 0), "running"),
        ({"ended": True, "failed": {"base": 1}}, (1, 0), "ended with failures"),
        ({"ended": True}, (1, 0), "interrupted"),
        ({"ended": True, "until": "corpus"}, (2, 4), "complete up to corpus: run it without --until"),
        ({"ended": True, "until": "corpus"}, (2, 3), "interrupted"),
        ({"heartbeat": time.time() - 3600}, (1, 0), "interrupted"),
        ({"heartbeat": time.time() - 3600, "failed": {"base": 1}}, (1, 0), "ended with failures"),
        ({"failed": {"base": 1}}, (1, 0), "running"),
        ({"ended": True, "failed": {"base": 1}}, (2, 4), "complete"),
        ({"heartbeat": time.time() - 3600}, (2, 4), "complete"),
    ],
)
def test_the_state_of_a_study(changes: dict[str, object], finished: tuple[int, int], said: str) -> None:
    assert state(note(**changes), dict(zip(STEPS, finished, strict=True))).startswith(said)


def test_time_left_is_what_is_left_at_this_runs_own_pace() -> None:
    begun = note(started=1000.0, heartbeat=1060.0, done_at_start={"base": 1})
    assert eta_seconds(begun, {"base": 2, "student": 1}) == pytest.approx(60 * 3)
    assert eta_seconds(begun, {"base": 2, "student": 4}) == 0.0


def test_time_left_is_unknown_while_a_stage_has_made_nothing_in_this_run() -> None:
    assert eta_seconds(note(), {"base": 2, "student": 0}) is None
    assert eta_seconds(note(done_at_start={"student": 2}), {"base": 2, "student": 2}) is None


def test_before_a_stage_has_a_pace_its_estimate_counts_and_the_words_say_so() -> None:
    begun = note(
        started=1000.0,
        heartbeat=1060.0,
        expected={"base": 500.0, "student": 30.0},
        expected_from={"base": "reference rates", "student": "reference rates"},
        begun={"base": 1030.0},
    )
    none, one, all_ = ({"base": made, "student": 0} for made in (0, 1, 2))
    assert eta_seconds(begun, none) == 2 * 500 + 4 * 30
    assert eta(begun, none) == "about 19 min, from reference rates"
    # 30 s since the first base began, in which one was made.
    assert eta_seconds(begun, one) == 30 + 4 * 30
    assert eta(begun, one) == "about 2 min, from this run's pace and reference rates"
    assert eta(begun, all_) == "about 2 min, from reference rates"


def test_stages_without_a_rate_are_named_and_do_not_hide_what_the_others_take() -> None:
    partly = note(expected={"base": 500.0}, expected_from={"base": "reference rates"})
    none = {"base": 0, "student": 0}
    assert eta_seconds(partly, none) is None
    assert stage_left(partly, none, "student") is None
    assert eta(partly, none) == "about 17 min, from reference rates; not counted, for want of a rate: student"
    assert eta(note(), none) == "not known before a step of base, student is finished"


def test_a_study_and_its_settings_name_the_folder(study: Callable[..., Study]) -> None:
    steps, other = plan(study()), plan(study(seed=2))
    assert folder("fake", steps).startswith("studies/fake-")
    assert folder("fake", steps) != folder("fake", other)
    assert folder("fake", steps) == folder("fake", plan(study(resources={"engines": {"max_workers": 4}})))


def test_writing_notes_disturbs_no_artifact(store: Store) -> None:
    write(store, "studies/small-1", note())
    assert artifact.load(store, "studies/small-1") is None
    assert status.FOLDER == "studies"
