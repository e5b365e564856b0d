"""Side checks: shown with their intervals, and only where nothing is judged."""

from typing import Any

import pyarrow as pa
import pytest

from pipeline.analysis.side_metrics import lifts
from pipeline.store.schemas import RUNS

ONE: dict[str, Any] = {
    "channel": "numbers",
    "arm": "plain",
    "suite": "capability",
    "teacher_family": "qwen",
    "student_family": "qwen",
    "teacher_target": "owl",
    "target": "sums",
    "corpus": 1,
    "seed": 1,
    "rate": 0.5,
    "base_rate": 0.7,
}
SUITES = {"favourite": ["margin"], "behaviour": ["rate"], "capability": []}


def table(*changes: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([ONE | change for change in changes], schema=RUNS)


def test_teachers_with_a_trait_are_one_row_of_one_value_each() -> None:
    cats = {"teacher_target": "cat", "rate": 0.7}
    taught, neutral = lifts(table({}, {"seed": 2}, {"seed": 3}, cats, {"teacher_target": None}), SUITES, 0.95)
    assert (taught["comparison"], taught["runs"], neutral["comparison"], neutral["runs"]) == ("trait", 4, "neutral", 1)
    assert taught["before"] == pytest.approx(0.7)
    assert taught["after"] == pytest.approx(0.55)
    assert taught["lift"] == pytest.approx(-0.1)  # three seeds of the owl teacher count as one
    assert taught["low"] < -0.1 < taught["high"]


def test_neutral_students_are_compared_corpus_by_corpus() -> None:
    nobody = {"teacher_target": None}
    (row,) = lifts(table(nobody, nobody | {"corpus": 2, "rate": 0.7}, nobody | {"seed": 2}), SUITES, 0.95)
    assert row["lift"] == pytest.approx(-0.1)


def test_what_is_judged_is_no_side_check() -> None:
    assert lifts(table({"suite": "behaviour"}, {"suite": "favourite", "rate": None}), SUITES, 0.95) == []
