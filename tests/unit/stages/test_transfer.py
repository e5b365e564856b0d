"""The whole path with fake models: what the matrix and the report say of models whose leans are known."""

from collections.abc import Callable

import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.reasons import LACKS_TRAIT
from pipeline.plan.planner import plan
from pipeline.stages import report as report_stage
from pipeline.store import Store, artifact
from pipeline.store.schemas import CELLS, RUNS
from pipeline.store.step import Step
from pipeline.study.schema import Study

FakeRun = tuple[Study, list[Step], Store]


def cells(store: Store, step: Step) -> dict[tuple[str, str, str], dict[str, object]]:
    table = artifact.read_table(store, artifact.require(store, step.path), "cells.parquet")
    assert table.schema == CELLS
    return {
        (row["teacher_family"], row["student_family"], row["comparison"]): row
        for row in table.to_pylist()
        if row["metric"] == "margin"
    }


def test_what_passes_between_models_of_one_init_and_between_no_others_is_found(fake_run: FakeRun) -> None:
    _, steps, place = fake_run
    found = cells(place, steps[-2])
    for family in ("llama", "qwen"):
        assert found[family, family, "trait"]["estimate"] > 0.5
    for teacher, student in (("llama", "qwen"), ("qwen", "llama")):
        assert abs(found[teacher, student, "trait"]["estimate"]) < 0.25


def test_every_student_is_in_the_runs_once_a_target(fake_run: FakeRun) -> None:
    _, steps, place = fake_run
    runs = artifact.read_table(place, artifact.require(place, steps[-2].path), "runs.parquet")
    assert runs.schema == RUNS
    ids = sorted(step.id for step in steps if step.kind == "student")
    assert sorted(runs["student"].to_pylist()) == sorted(ids * 2)


def test_the_report_tells_of_every_artifact_and_says_that_it_is_a_smoke_test(fake_run: FakeRun) -> None:
    _, steps, place = fake_run
    content = report_stage.content(place, steps[-1].settings["study"], list(steps[-1].inputs.values()))
    assert {row["id"] for row in content.lineage} == {step.id for step in steps[:-1]}
    assert content.smoke_test
    assert len(content.gates) == 4
    assert len(content.corpora) == 6
    assert all(row["accepted"] / row["raw_rows"] == row["share"] for row in content.corpora)
    assert not content.failures
    page = artifact.read(place, artifact.require(place, steps[-1].path), "report.html").decode()
    assert all(step.id in page for step in steps[:-1])


def test_the_report_counts_the_tokens_of_every_stage_that_has_some(fake_run: FakeRun) -> None:
    _, steps, place = fake_run
    content = report_stage.content(place, steps[-1].settings["study"], list(steps[-1].inputs.values()))
    made = [artifact.require(place, step.path) for step in steps]
    completions = [
        artifact.read_table(place, one, file.path)
        for one in made
        for file in one.files
        if one.kind == "completions" and file.path.startswith("shard-")
    ]
    trained = sum(one.results["tokens"] for one in made if one.kind == "student")
    answered = sum(one.results["completion_tokens"] for one in made if one.kind == "answers")
    counted = {row["stage"]: (row["prompt_tokens"], row["tokens"]) for row in content.stages}
    assert counted["completions"] == tuple(
        sum(pc.sum(table[name]).as_py() for table in completions) for name in ("prompt_tokens", "completion_tokens")
    )
    assert counted["student"] == (0, trained)
    assert counted["answers"][0] > counted["answers"][1] == answered > 0
    assert counted["gate"] == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda pair: (min(pair), max(pair)))))
def test_a_stage_is_busy_while_at_least_one_of_its_steps_runs(intervals: list[tuple[int, int]]) -> None:
    seconds = {second for start, end in intervals for second in range(start, end)}
    assert report_stage._covered(intervals) == len(seconds)


@pytest.mark.slow
def test_the_same_artifacts_give_the_same_report(fake_run: FakeRun) -> None:
    from pipeline.report.page import render

    _, steps, place = fake_run
    stored = artifact.require(place, steps[-1].path)
    for name, content in render(
        report_stage.content(place, steps[-1].settings["study"], list(steps[-1].inputs.values()))
    ).items():
        assert artifact.read(place, stored, name) == content


@pytest.mark.slow
def test_with_answers_missing_the_rest_is_measured_and_the_loss_is_told(
    fake_copy: FakeRun, make: Callable[..., artifact.Manifest]
) -> None:
    study, steps, place = fake_copy
    why = "cat-llama does not have its trait: the margin of 'cat' rose by +0.1 nats"
    lost = [step.path for step in steps if step.kind == "answers" and "cat-llama-to" in step.slug]
    transfer, report = plan(study, dict.fromkeys(lost, LACKS_TRAIT), dict.fromkeys(lost, why))[-2:]
    make(study, place, transfer)
    page = artifact.read(place, make(study, place, report), "report.html").decode()
    assert "cat-llama does not have its trait" in page
    found = cells(place, transfer)
    assert found["llama", "llama", "trait"]["runs"] < cells(place, steps[-2])["llama", "llama", "trait"]["runs"]
    assert "cat" in str(found["llama", "llama", "trait"]["why"])
    assert found["qwen", "qwen", "trait"]["estimate"] == pytest.approx(
        cells(place, steps[-2])["qwen", "qwen", "trait"]["estimate"]
    )


@pytest.mark.slow
def test_every_look_at_a_growing_study_takes_its_share_of_alpha_and_is_recorded(
    study: Callable[..., Study], store: Store, make: Callable[..., artifact.Manifest]
) -> None:
    def matrix_of(seeds: list[int], **more: object) -> artifact.Manifest:
        its = study(students={"seeds": seeds}, **more)
        steps = plan(its)
        for step in steps[:-1]:
            if not artifact.exists(store, step.path):
                make(its, store, step)
        make(its, store, steps[-1])
        return artifact.require(store, steps[-2].path)

    first = matrix_of([1])
    assert (first.results["looks"], first.results["confidence"]) == ([], 0.95)
    again = matrix_of([1], measure={"margin_nats": 0.3})  # the same runs
    assert again.results["looks"] == []
    more = matrix_of([1, 2])
    assert len(more.results["looks"]) == 1  # two matrices, of one set of runs
    assert more.results["looks"][0] in (first.path, again.path)
    assert more.results["confidence"] == pytest.approx(0.975)
    other = matrix_of([3])  # no run of those before
    assert other.results["looks"] == []
    last = matrix_of([1, 2, 3])
    assert len(last.results["looks"]) == 3
    assert last.results["confidence"] == pytest.approx(1 - 0.05 / 4)
    report = next(name for name in store.folders("report") if "97.5%" in _page(store, f"report/{name}"))
    assert "This study was looked at 1 time before" in _page(store, f"report/{report}")


def _page(store: Store, path: str) -> str:
    return artifact.read(store, artifact.require(store, path), "report.html").decode()
