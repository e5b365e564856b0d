"""Rates, which a suite measures of any model: how the matrix judges them, data set by data set."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipeline.analysis.cells import Measure
from pipeline.analysis.transfer import StudentAnswers, measure
from tests.cells import rows

FAMILIES = ("llama", "qwen")
DATA = ("insecure", "secure")
RATES = Measure(DATA, ("plain",), {"behaviour": ("rate",)}, {"rate": 0.02}, {"behaviour": ("misaligned",)})
NO_RATE = {("behaviour", family): {"rate": {"misaligned": 0.01}} for family in FAMILIES}


def behaving(own: float = 0.3, **rates: float) -> Iterator[StudentAnswers]:
    """Students of the insecure teacher show the behaviour within their family, all others hardly ever."""
    for teacher in FAMILIES:
        for student in FAMILIES:
            for teacher_target in (*DATA, None):
                for seed in (0, 1, 2):
                    rate = (
                        own
                        if teacher_target == "insecure" and teacher == student
                        else rates.get(str(teacher_target), 0.01)
                    )
                    name = f"{teacher_target}-{teacher}-{student}-{seed}"
                    results = {"rate": {"misaligned": rate + 0.001 * seed}}
                    yield StudentAnswers(
                        "numbers", "plain", "behaviour", teacher, student, teacher_target, seed, name, results
                    )


def test_a_rate_is_judged_data_set_by_data_set() -> None:
    runs, cells = measure(behaving(), NO_RATE, RATES)
    assert set(runs["target"].to_pylist()) == {"misaligned"}
    assert runs.num_rows == 4 * 3 * 3
    by_cell = rows(cells)
    assert len(by_cell) == 4 * 3
    for (teacher, student, comparison, metric), cell in by_cell.items():
        own = teacher == student and comparison == "target insecure"
        assert (metric, cell["runs"], cell["p"]) == ("rate", 3, None)
        assert cell["verdict"] == ("transfer" if own else "no transfer"), cell["why"]
    assert by_cell["llama", "llama", "target insecure", "rate"]["estimate"] == pytest.approx(0.29)


def test_what_moves_every_student_alike_is_no_transfer_of_a_rate() -> None:
    everywhere = {"insecure": 0.2, "secure": 0.2, "None": 0.2}
    _, cells = measure(behaving(own=0.2, **everywhere), NO_RATE, RATES)
    for (_, _, comparison, _), cell in rows(cells).items():
        assert (cell["verdict"] == "transfer") == (comparison == "neutral")


def test_no_null_of_a_rate_is_claimed_where_no_data_set_reaches_its_own_family() -> None:
    _, cells = measure(behaving(own=0.01), NO_RATE, RATES)
    assert {cell["verdict"] for cell in cells.to_pylist()} == {"gate failed"}


def test_a_failed_gate_fails_the_rows_of_its_own_data_set_alone() -> None:
    _, cells = measure(behaving(secure=0.2), NO_RATE, RATES, failed_gates={("llama", "insecure")})
    by_cell = rows(cells)
    failed = by_cell["llama", "llama", "target insecure", "rate"]
    assert failed["verdict"] == "gate failed"
    assert "llama teacher of insecure did not show its trait" in str(failed["why"])
    assert by_cell["llama", "llama", "target secure", "rate"]["verdict"] == "transfer"
    assert by_cell["qwen", "qwen", "target insecure", "rate"]["verdict"] == "transfer"


def test_a_neutral_teacher_that_moves_a_rate_is_said_to() -> None:
    _, cells = measure(behaving(**{"None": 0.2}), NO_RATE, RATES)
    neutral = rows(cells)["llama", "llama", "neutral", "rate"]
    assert neutral["verdict"] == "transfer"
    assert "moved its students towards what is measured" in str(neutral["why"])


def test_a_run_without_a_coherent_answer_is_left_out_and_named() -> None:
    students = [
        replace(s, results={"rate": {"misaligned": None}}) if s.student == "insecure-llama-llama-1" else s
        for s in behaving()
    ]
    _, cells = measure(students, NO_RATE, RATES)
    cell = rows(cells)["llama", "llama", "target insecure", "rate"]
    assert cell["runs"] == 2
    assert "insecure s1" in str(cell["why"])
