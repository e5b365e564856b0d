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
    "seed": 1,
    "rate": 0.5,
    "base_rate": 0.7,
}
SUITES = {"favourite": ["margin"], "behaviour": ["rate"], "capability": []}


def table(*changes: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([ONE | change for change in changes], schema=RUNS)


def test_runs_that_were_taught_alike_are_one_row() -> None:
    owl, neutral = lifts(table({}, {"seed": 2, "rate": 0.7}, {"teacher_target": None}), SUITES, 0.95)
    assert (owl["teacher_target"], owl["runs"], neutral["teacher_target"], neutral["runs"]) == ("owl", 2, None, 1)
    assert owl["before"] == pytest.approx(0.7)
    assert owl["after"] == pytest.approx(0.6)
    assert owl["lift"] == pytest.approx(-0.1)
    assert owl["low"] < -0.1 < owl["high"]


def test_what_is_judged_is_no_side_check() -> None:
    assert lifts(table({"suite": "behaviour"}, {"suite": "favourite", "rate": None}), SUITES, 0.95) == []
