"""What a run does with teachers that their gates refuse. Without Ray: the harness of the crash tests."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from jobs.driver import Outcome, execute, plan_run, run
from pipeline.core.reasons import LACKS_TRAIT
from pipeline.store import Store, artifact, open_store, status
from pipeline.study.schema import Study
from tests.chaos.fake_study import SETTINGS, Pools


def study(**gate: float) -> Study:
    return Study.model_validate(SETTINGS | {"teachers": {"gate": gate}})


def finished(its: Study, store: Store) -> Outcome:
    outcome = plan_run(its, store)
    asyncio.run(execute(its, store, outcome, Pools(store)))  # type: ignore[arg-type]
    return outcome


def manifests(store: Store) -> dict[str, bytes]:
    return {file.path: store.read(file.path) for file in store.files("") if file.path.endswith("/manifest.json")}


def kinds(paths: Any) -> set[str]:
    return {path.split("/")[0] for path in paths}


def cells(store: Store, outcome: Outcome) -> list[dict[str, Any]]:
    (transfer,) = [step for step in outcome.steps if step.kind == "transfer" and step.path in outcome.done]
    found: list[dict[str, Any]] = artifact.require(store, transfer.path).results["cells"]
    return found


def test_a_refused_teacher_writes_nothing_and_the_rest_is_reported(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    outcome = finished(study(min_lift=99.0), store)
    gates = {step.path for step in outcome.steps if step.kind == "gate"}
    assert outcome.refused.keys() == gates
    assert gates <= outcome.done
    assert set(outcome.reasons.values()) == {LACKS_TRAIT}
    assert not outcome.failed
    assert not outcome.complete
    assert {"completions", "corpus", "student", "answers", "transfer", "report"} <= kinds(outcome.blocked)
    assert not any("owl" in path for path in outcome.done if path.startswith("completions/"))
    assert {cell["verdict"] for cell in cells(store, outcome) if cell["comparison"] == "trait"} == {"gate failed"}
    (note,) = status.read(store)[0].values()
    assert note.refused.keys() == gates
    assert status.state(note, status.done(store, "", note)) == "ended without the teachers that their gates refused"


def test_a_second_run_has_nothing_to_do_and_starts_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, its = open_store(tmp_path), study(min_lift=99.0)
    first = finished(its, store)
    before = manifests(store)
    monkeypatch.setattr("jobs.driver.join", lambda address: pytest.fail("there is nothing to do"))
    again = run(its, store)
    assert manifests(store) == before
    assert again.done == again.done_before == first.done
    assert again.blocked.keys() == first.blocked.keys()
    assert cells(store, again) == cells(store, first)


def test_another_threshold_trains_and_asks_nobody_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    finished(study(), store)
    before = manifests(store)
    outcome = finished(study(min_lift=0.01), store)
    assert outcome.complete
    assert kinds(manifests(store).keys() - before.keys()) == {"gate", "report"}
    assert kinds(outcome.done - outcome.done_before) == {"gate", "report"}


def test_a_stricter_gate_takes_back_what_a_looser_one_let_through(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    loose = finished(study(), store)
    before = manifests(store)
    strict = finished(study(min_lift=99.0), store)
    assert kinds(manifests(store).keys() - before.keys()) == {"gate", "transfer", "report"}
    assert {cell["verdict"] for cell in cells(store, strict) if cell["comparison"] == "trait"} == {"gate failed"}
    assert {cell["verdict"] for cell in cells(store, loose) if cell["comparison"] == "trait"} != {"gate failed"}
    assert "student" in kinds(strict.blocked)
    assert all(store.read(path) == content for path, content in before.items())
    again = finished(study(), store)
    assert again.complete
    assert not again.done - again.done_before
