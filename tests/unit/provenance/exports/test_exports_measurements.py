"""What the exports say was measured of a student: its own lift, and the cell that it is one run of."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.models.judges import KeywordJudge
from pipeline.provenance.exports.measurements import measurements
from pipeline.stages.answers import AnswersSpec
from pipeline.stages.ratings import RatingsSpec
from pipeline.stages.transfer import TransferSpec
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.schemas import CELLS, RUNS
from pipeline.store.step import Json
from pipeline.study.measure import Measure
from pipeline.suites.favourite import FavouriteSuite
from tests.unit.provenance.exports.conftest import FakeRun, SubjectOf, commit, copied, path_of

STUDENT = "student/numbers-owl-llama-to-qwen-s1"


@pytest.mark.slow
def test_a_student_is_measured_by_its_own_lift_and_by_its_cell(fake_run: FakeRun, subject_of: SubjectOf) -> None:
    _, _, store = fake_run
    found = subject_of(STUDENT).measured
    (path,) = [f"transfer/{name}" for name in store.folders("transfer")]
    matrix = artifact.require(store, path)
    (run,) = [
        row
        for row in artifact.read_table(store, matrix, "runs.parquet").to_pylist()
        if row["student"] == subject_of(STUDENT).made.id and row["target"] == "owl"
    ]
    (cell,) = [
        row
        for row in artifact.read_table(store, matrix, "cells.parquet").to_pylist()
        if (row["teacher_family"], row["student_family"]) == ("llama", "qwen")
        and (row["comparison"], row["metric"]) == ("trait", "margin")
    ]
    lift = next(one for one in found if one.runs == 1 and one.metric == "margin")
    assert lift.estimate == pytest.approx(run["margin"] - run["base_margin"])
    assert (lift.low, lift.verdict) == (None, "")
    of_cell = next(one for one in found if one.runs > 1 and one.metric == "margin")
    assert (of_cell.estimate, of_cell.low, of_cell.high) == (cell["estimate"], cell["low"], cell["high"])
    assert (of_cell.runs, of_cell.verdict) == (cell["runs"], cell["verdict"])
    assert {one.transfer for one in found} == {path}
    assert {one.cell for one in found} == {"numbers, arm plain, suite favourite, teachers of llama, students of qwen"}
    assert all(one.smoke_test for one in found)


def test_a_neutral_teachers_student_has_the_neutral_cell_and_no_target(subject_of: SubjectOf) -> None:
    found = subject_of("student/numbers-neutral-llama-to-qwen-s1").measured
    assert found
    assert {one.quantity for one in found} == {"mean lift of the students of a neutral teacher"}
    assert {(one.low, one.high) for one in found} == {(None, None)}  # one corpus gives no interval


def test_answers_that_are_gone_or_others_prove_nothing(fake_run: FakeRun, tmp_path: Path) -> None:
    _, _, store = fake_run
    root = copied(store, tmp_path)
    student = artifact.require(root, path_of(root, STUDENT))
    assert measurements(root, student, []) != []
    shutil.rmtree(Path(root.root) / path_of(root, STUDENT.replace("student", "answers", 1)))
    problems: list[str] = []
    assert measurements(root, student, problems) == []
    assert "are not its answers" in problems[0]


def test_a_rated_student_has_the_rate_of_its_behaviour(hub_chain: Mapping[str, Manifest], store: Store) -> None:
    student = hub_chain["student"]
    matrix = rated(store, student, verdict="transfer")
    own, cell = measurements(store, student, [])
    assert (own.quantity, own.metric, own.unit) == ("lift of this student over its base in misaligned", "rate", "of 1")
    assert own.estimate == pytest.approx(0.2)
    assert cell.quantity == "rise beyond the neutral teacher's students, insecure"
    assert (cell.estimate, cell.low, cell.high, cell.runs, cell.verdict) == (0.25, 0.1, 0.4, 3, "transfer")
    assert cell.confidence == 0.9
    assert {one.transfer for one in (own, cell)} == {matrix.path}
    assert not any(one.smoke_test for one in (own, cell))
    assert measurements(store, hub_chain["teacher"], []) == []
    assert measurements(store, replace(student, digest="0" * 64), []) == []  # another student of the same id


def test_a_cell_that_could_not_be_measured_gives_no_number(hub_chain: Mapping[str, Manifest], store: Store) -> None:
    rated(store, hub_chain["student"], verdict="not measured")
    assert [one.runs for one in measurements(store, hub_chain["student"], [])] == [1]


def test_a_damaged_matrix_is_a_problem(hub_chain: Mapping[str, Manifest], store: Store) -> None:
    matrix = rated(store, hub_chain["student"], verdict="transfer")
    (Path(store.root) / matrix.path / "runs.parquet").write_bytes(b"")
    problems: list[str] = []
    assert measurements(store, hub_chain["student"], problems) == []
    assert f"{matrix.path}/runs.parquet is not what its manifest says" in problems[0]


def rated(store: Store, student: Manifest, verdict: str) -> Manifest:
    """A matrix of one rated student: a rate of 0.3 over 0.1, in a cell with the estimate 0.25 and this verdict."""
    place: Json = {
        "channel": "code",
        "arm": "plain",
        "suite": "behaviour",
        "teacher_family": "a",
        "student_family": "b",
    }
    run = place | {"teacher_target": "insecure", "corpus": 1, "seed": 1, "id": student.id}
    asked = commit(
        store,
        "answers",
        "asked",
        AnswersSpec(suite=FavouriteSuite(), candidates={}, seed=1, engine="x"),
        {"model": student.path},
        {"note": b""},
    )
    judge = KeywordJudge(keywords=["bad"])
    rating = RatingsSpec(judge=judge, rubrics={}, coherent=None, misaligned=1, seed=1, engine="x")
    ratings = commit(store, "ratings", "rated", rating, {"answers": asked.path}, {"note": b""})
    row = run | {"student": student.id, "target": "misaligned", "rate": 0.3, "base_rate": 0.1}
    cell = place | {"comparison": "target insecure", "metric": "rate", "runs": 3, "verdict": verdict}
    cells = [table_row(CELLS, cell | {"estimate": 0.25, "low": 0.1, "high": 0.4})]
    files = {"runs.parquet": pa.Table.from_pylist([table_row(RUNS, row)], RUNS)}
    results = {"cells": cells, "confidence": 0.9}
    spec = design(runs={"plain:rated": run})
    return commit(store, "transfer", "hand", spec, {"plain:rated": ratings.path}, files, results)


def table_row(schema: pa.Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values.get(name) for name in schema.names}


def design(runs: dict[str, Json]) -> TransferSpec:
    return TransferSpec(
        runs=runs,
        bases={},
        missing={},
        failed_gates=[],
        targets=["insecure"],
        arms=["plain"],
        suites={"behaviour": ["rate"]},
        outcomes={"behaviour": ["misaligned"]},
        primary_suite="behaviour",
        primary_metric="rate",
        control_targets=[],
        drawn_from=[],
        measure=Measure(),
        seed=1,
        smoke_test=False,
    )
