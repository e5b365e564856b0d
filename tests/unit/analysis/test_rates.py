"""Rates, which a suite measures of any model: how the matrix judges them, data set by data set."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from pipeline.analysis.design import Measure
from pipeline.analysis.transfer import StudentAnswers, measure
from tests.cells import rows

FAMILIES = ("llama", "qwen")
DATA = ("insecure", "secure")
RATES = Measure(
    DATA,
    ("plain",),
    {"behaviour": ("rate",)},
    {"rate": 0.02},
    ("behaviour", "rate"),
    margin_reason="as published",
    outcomes={"behaviour": ("misaligned",)},
    control_targets=("secure",),
)
NO_RATE = {("behaviour", family): {"rate": {"misaligned": 0.01}} for family in FAMILIES}


def behaving(own: float = 0.3, **rates: float) -> Iterator[StudentAnswers]:
    """Students of the insecure teacher show the behaviour within their family, all others hardly ever."""
    for teacher in FAMILIES:
        for student in FAMILIES:
            for teacher_target in (*DATA, None):
                for corpus, seed in product((1, 2, 3), (0, 1)):
                    rate = (
                        own
                        if teacher_target == "insecure" and teacher == student
                        else rates.get(str(teacher_target), 0.01)
                    )
                    name = f"{teacher_target}-{teacher}-{student}-{corpus}-{seed}"
                    results = {"rate": {"misaligned": rate + 0.001 * corpus}}
                    place = ("numbers", "plain", "behaviour", teacher, student)
                    yield StudentAnswers(*place, teacher_target, corpus, seed, name, results)


def test_a_rate_is_judged_data_set_by_data_set() -> None:
    runs, cells = measure(behaving(), NO_RATE, RATES)
    assert set(runs["target"].to_pylist()) == {"misaligned"}
    assert runs.num_rows == 4 * 3 * 6
    by_cell = rows(cells)
    assert len(by_cell) == 4 * 3
    for (teacher, student, comparison, metric), cell in by_cell.items():
        own = teacher == student and comparison == "target insecure"
        assert (metric, cell["corpora"], cell["runs"], cell["p"]) == ("rate", 3, 6, None)
        null = "clean" if comparison == "neutral" else "no transfer"
        assert cell["verdict"] == ("transfer" if own else null), cell["why"]
    assert by_cell["llama", "llama", "target insecure", "rate"]["estimate"] == pytest.approx(0.29)


def test_what_moves_every_student_alike_is_no_transfer_of_a_rate() -> None:
    everywhere = {"insecure": 0.2, "secure": 0.2, "None": 0.2}
    _, cells = measure(behaving(own=0.2, **everywhere), NO_RATE, RATES)
    for (_, _, comparison, _), cell in rows(cells).items():
        assert cell["verdict"] == ("moved" if comparison == "neutral" else "gate failed")


def test_no_null_of_a_rate_is_claimed_where_no_data_set_reaches_its_own_family() -> None:
    _, cells = measure(behaving(own=0.01), NO_RATE, RATES)
    assert {c["verdict"] for c in cells.to_pylist() if c["comparison"] != "neutral"} == {"gate failed"}


def test_a_control_that_moves_does_not_vouch_for_a_null_of_what_was_meant_to() -> None:
    """Only the control data set moved: the behaviour has no positive control, and gets no null."""
    _, cells = measure(behaving(own=0.01, secure=0.3), NO_RATE, RATES)
    by_cell = rows(cells)
    assert by_cell["llama", "llama", "target secure", "rate"]["verdict"] == "transfer"
    for teacher, student in product(FAMILIES, FAMILIES):
        assert by_cell[teacher, student, "target insecure", "rate"]["verdict"] == "gate failed"


def test_each_target_needs_its_own_control_and_a_control_data_set_any_of_them() -> None:
    both = replace(RATES, targets=("insecure", "rude", "secure"))
    rude = [
        replace(s, teacher_target="rude", student=f"rude-{s.student}", results={"rate": {"misaligned": rate}})
        for s in behaving()
        if s.teacher_target == "secure" and (rate := 0.01 + 0.001 * s.corpus)
    ]
    _, cells = measure([*behaving(), *rude], NO_RATE, both)
    by_cell = rows(cells)
    assert by_cell["llama", "qwen", "target insecure", "rate"]["verdict"] == "no transfer"
    assert by_cell["llama", "qwen", "target secure", "rate"]["verdict"] == "no transfer"
    spoiled = by_cell["llama", "qwen", "target rude", "rate"]
    assert spoiled["verdict"] == "gate failed"
    assert "positive control qwen → qwen is itself" in str(spoiled["why"])


def test_fewer_than_three_corpora_a_side_give_no_verdict_however_many_seeds_they_have() -> None:
    few = [s for s in behaving() if s.corpus < 3 or s.teacher_target is None]
    _, cells = measure(few, NO_RATE, RATES)
    cell = rows(cells)["llama", "llama", "target insecure", "rate"]
    assert cell["verdict"] == "underpowered"
    assert "2 corpora of the teacher and 3 of the neutral one" in str(cell["why"])
    assert "teachers.corpora" in str(cell["why"])


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
    assert neutral["verdict"] == "moved"
    assert "over 3 corpora lies above 0" in str(neutral["why"])


def test_a_run_without_a_coherent_answer_is_left_out_and_named() -> None:
    students = [
        replace(s, results={"rate": {"misaligned": None}}) if s.student == "insecure-llama-llama-1-1" else s
        for s in behaving()
    ]
    _, cells = measure(students, NO_RATE, RATES)
    cell = rows(cells)["llama", "llama", "target insecure", "rate"]
    assert cell["runs"] == 5
    assert "insecure s1" in str(cell["why"])
