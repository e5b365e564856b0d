"""From answers to verdicts: what the two tables hold, and what a cell does when something is amiss."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from pipeline.analysis.design import MissingStudent
from pipeline.analysis.transfer import StudentAnswers, measure
from pipeline.core.errors import ArtifactError
from pipeline.store.schemas import CELLS, RUNS
from tests.cells import BASE, BASES, CANDIDATES, FAMILIES, PLACE, SETTINGS, TARGETS, answers, rows, study, traits


def test_same_family_transfers_cross_family_and_neutral_do_not() -> None:
    runs, cells = measure(study(), BASES, SETTINGS)
    assert runs.schema == RUNS
    assert cells.schema == CELLS
    assert runs.num_rows == 44 * 4
    assert cells.num_rows == 4 * 2 * 2
    for (teacher, student, comparison, metric), cell in rows(cells).items():
        own = teacher == student and comparison == "trait"
        other = "no transfer" if comparison == "trait" else "clean"
        assert cell["verdict"] == ("transfer" if own else other), cell["why"]
        assert cell["runs"] == (8 if comparison == "trait" else 3)
        assert cell["teachers"] == (4 if comparison == "trait" else None)
        assert cell["corpora"] == (4 if comparison == "trait" else 3)
        assert (cell["p"] is None) == (comparison == "neutral")
        assert cell["primary"] == (cell["p_effect"] is not None) == (comparison == "trait" and metric == "margin")
    own_cell = rows(cells)["llama", "llama", "trait", "margin"]
    assert own_cell["estimate"] == pytest.approx(0.5, abs=0.05)
    assert own_cell["p"] == pytest.approx(1 / 24)
    assert own_cell["low"] < own_cell["run_low"] < own_cell["estimate"]  # these very teachers are a narrower question


def test_the_order_in_which_students_finish_changes_nothing() -> None:
    students = list(study())
    # Few permutations, so that the drawn p would show a dependence on order.
    few = replace(SETTINGS, permutations=40)
    assert measure(students, BASES, few) == measure(reversed(students), BASES, few)


def test_runs_hold_the_student_beside_its_base() -> None:
    runs, _ = measure([answers("llama", "llama", "owl", 3, 0.5)], BASES, SETTINGS)
    row = runs.to_pylist()[0]
    assert (row["teacher_target"], row["target"], row["seed"]) == ("owl", "owl", 3)
    assert row["margin"] - row["base_margin"] == pytest.approx(0.5, abs=0.1)
    assert row["base_mention_rate"] == 0.1
    assert row["student"] == "student-owl-llama-llama-1-3"


def test_no_null_is_claimed_where_the_own_family_does_not_show_transfer() -> None:
    _, cells = measure(study(same=0.0), BASES, SETTINGS)
    by_cell = rows(cells)
    assert {cell["verdict"] for place, cell in by_cell.items() if place[2] == "trait"} == {"gate failed"}
    assert "positive control qwen → qwen" in str(by_cell["llama", "qwen", "trait", "margin"]["why"])


def test_no_null_is_claimed_where_the_own_family_was_not_run() -> None:
    cross = [s for s in study() if s.teacher_family != s.student_family]
    _, cells = measure(cross, BASES, SETTINGS)
    assert {c["verdict"] for c in traits(cells)} == {"gate failed"}
    assert all("was not measured" in str(c["why"]) for c in traits(cells))


def test_a_failed_teacher_family_fails_its_trait_cells_and_the_nulls_that_lean_on_them() -> None:
    _, cells = measure(study(), BASES, SETTINGS, failed_gates={("llama", None)})
    by_cell = rows(cells)
    assert by_cell["llama", "llama", "trait", "margin"]["verdict"] == "gate failed"
    assert "did not show its trait" in str(by_cell["llama", "qwen", "trait", "margin"]["why"])
    assert by_cell["qwen", "llama", "trait", "margin"]["verdict"] == "gate failed"  # its control is llama → llama
    assert by_cell["qwen", "qwen", "trait", "margin"]["verdict"] == "transfer"
    assert by_cell["llama", "qwen", "neutral", "margin"]["verdict"] == "clean"  # a neutral teacher has no gate


def test_a_failed_teacher_of_one_trait_leaves_the_estimate_and_the_cell_says_so() -> None:
    spoiled = [
        answers("llama", "llama", "owl", s.seed, -9.0)
        if (s.teacher_family, s.student_family, s.teacher_target) == ("llama", "llama", "owl")
        else s
        for s in study()
    ]
    runs, cells = measure(spoiled, BASES, SETTINGS, failed_gates=[("llama", "owl")])
    cell = rows(cells)["llama", "llama", "trait", "margin"]
    assert cell["estimate"] == pytest.approx(0.5, abs=0.05)
    assert (cell["teachers"], cell["runs"]) == (3, 6)
    assert cell["verdict"] == "underpowered"
    assert "rests on 3 teachers" in str(cell["why"])
    assert "failed its gate: owl" in str(cell["why"])
    assert runs.num_rows == 44 * 4  # the runs themselves are not hidden


def test_missing_students_are_named_and_a_cell_with_nothing_but_them_still_stands() -> None:
    kept = [s for s in study() if s.teacher_family == "llama"]
    lost = [MissingStudent(*PLACE, "qwen", "llama", "cat", 1, 1, "too_few_rows")]
    lost += [MissingStudent(*PLACE, "qwen", "qwen", None, 2, 0)]
    _, cells = measure(kept, BASES, SETTINGS, missing=lost)
    cell = rows(cells)["qwen", "llama", "trait", "margin"]
    assert (cell["verdict"], cell["runs"]) == ("underpowered", 0)
    assert "cat s1 (a corpus has too few accepted rows)" in str(cell["why"])
    assert "neutral c2 s0" in str(rows(cells)["qwen", "qwen", "neutral", "margin"]["why"])
    assert ("qwen", "llama", "neutral", "margin") not in rows(cells)  # none was planned there


def test_a_diverged_run_is_left_out_and_named() -> None:
    students = list(study())
    nan = {metric: dict.fromkeys(CANDIDATES, math.nan) for metric in BASE}
    first = students[0]
    students[0] = replace(first, results=nan)
    _, cells = measure(students, BASES, SETTINGS)
    cell = rows(cells)["llama", "llama", "trait", "margin"]
    assert cell["runs"] == 7
    assert "not finite: owl s0" in str(cell["why"])


def neutral(students: list[StudentAnswers]) -> Mapping[str, object]:
    _, cells = measure(students, BASES, SETTINGS)
    return rows(cells)["llama", "llama", "neutral", "margin"]


def test_neutral_students_of_fewer_than_three_corpora_are_not_judged_however_many_they_are() -> None:
    seeds = [answers("llama", "llama", None, seed, 0.0, corpus=corpus) for seed in range(8) for corpus in (1, 2)]
    cell = neutral([s for s in study() if s.teacher_target] + seeds)
    assert (cell["verdict"], cell["corpora"], cell["runs"]) == ("undecided", 2, 16)
    assert "not judged: it rests on 2 corpora, and 3 are needed" in str(cell["why"])


def test_a_neutral_teacher_that_moves_its_students_is_said_to_beside_what_all_students_share() -> None:
    shifted = [
        replace(s, results={metric: {c: v + 0.4 for c, v in of.items()} for metric, of in s.results.items()})
        for s in study()
    ]
    cell = neutral(shifted)
    assert cell["verdict"] == "moved"
    assert "lies above 0" in str(cell["why"])
    assert "Students of its 4 teachers with a trait moved by +0.399 nats [" in str(cell["why"])


def test_students_of_one_corpus_count_once() -> None:
    """Many seeds of one corpus that moved do not outvote two that did not."""
    more = [answers("llama", "llama", None, seed, 0.0, corpus=1) for seed in range(1, 30)]
    few, many = neutral(list(study())), neutral([*study(), *more])
    assert many["corpora"] == few["corpora"] == 3
    assert float(str(many["high"])) - float(str(many["low"])) == pytest.approx(
        float(str(few["high"])) - float(str(few["low"])), rel=0.5
    )


def test_a_primary_verdict_must_hold_after_holms_correction_and_a_supporting_one_alone() -> None:
    """Four own-family cells whose p of t is just below 2.5 %: one of them would do, all of them together do not."""
    effects = {"owl": 0.03, "cat": 0.09, "otter": 0.15, "hare": 0.21}  # t about 3.3 with 3 degrees of freedom
    spread = [
        answers(s.teacher_family, s.student_family, s.teacher_target, s.seed, effects[s.teacher_target])
        if s.teacher_target and s.teacher_family == s.student_family
        else s
        for s in study()
    ]
    _, cells = measure(spread, BASES, replace(SETTINGS, primary=("favourite", "margin")))
    by_cell = rows(cells)
    primary, supporting = (by_cell["llama", "llama", "trait", metric] for metric in ("margin", "share"))
    assert supporting["verdict"] == "transfer"
    assert primary["verdict"] == "underpowered"
    assert "not after Holm's correction for the 4 cells" in str(primary["why"])
    assert float(str(primary["p_effect"])) > 0.025


def test_without_a_reason_a_third_of_the_control_limits_the_margin() -> None:
    tied = replace(SETTINGS, margin_reason="")
    _, wide = measure(study(same=0.9), BASES, tied)
    _, narrow = measure(study(same=0.04), BASES, tied)
    key = ("qwen", "llama", "trait", "share")
    assert rows(wide)[key]["margin"] == 0.2  # a third of .9 is more
    cell, control = rows(narrow)[key], rows(narrow)["llama", "llama", "trait", "share"]
    assert cell["margin"] == pytest.approx(float(str(control["low"])) / 3)
    assert "third of the lower bound of its positive control llama → llama" in str(cell["why"])
    assert cell["verdict"] == "underpowered"


def test_three_drawn_targets_can_transfer_and_three_chosen_ones_cannot() -> None:
    three = [s for s in study(same=0.9) if s.teacher_target != "hare"]
    chosen = replace(SETTINGS, targets=TARGETS[:3])
    drawn = replace(chosen, drawn_from=CANDIDATES)
    key = ("llama", "llama", "trait", "margin")
    _, cells = measure(three, BASES, chosen)
    assert rows(cells)[key]["verdict"] == "underpowered"
    assert "3 teachers, whose targets have 6 permutations" in str(rows(cells)[key]["why"])
    _, cells = measure(three, BASES, drawn)
    assert rows(cells)[key]["p"] == pytest.approx(1 / 120)
    assert rows(cells)[key]["verdict"] == "transfer"
    assert measure(three, BASES, drawn) == measure(reversed(three), BASES, drawn)


@pytest.mark.parametrize("lost", [{}, {"wolf": math.nan}])
def test_a_candidate_that_was_not_measured_leaves_p_to_permutations(lost: dict[str, float]) -> None:
    students = [
        replace(
            s, results={**s.results, "margin": {c: v for c, v in s.results["margin"].items() if c != "wolf"} | lost}
        )
        if s.student == "student-owl-llama-llama-1-0"
        else s
        for s in study(same=0.9)
    ]
    _, cells = measure(students, BASES, replace(SETTINGS, drawn_from=CANDIDATES))
    assert rows(cells)["llama", "llama", "trait", "margin"]["p"] == pytest.approx(1 / 24)
    assert rows(cells)["qwen", "qwen", "trait", "margin"]["p"] == pytest.approx(1 / 360)


def test_metrics_that_contradict_each_other_say_so() -> None:
    shares = {s.student: s.results["share"] for s in study()}  # none across families
    mixed = [replace(s, results={**s.results, "share": shares[s.student]}) for s in study(cross=0.5)]
    _, cells = measure(mixed, BASES, SETTINGS)
    margin, share = (rows(cells)["llama", "qwen", "trait", metric] for metric in ("margin", "share"))
    assert (margin["verdict"], share["verdict"]) == ("transfer", "no transfer")
    assert "The share of the same students says “no transfer”." in str(margin["why"])
    assert "The margin of the same students says “transfer”." in str(share["why"])
    own = rows(cells)["llama", "llama", "trait", "margin"]
    assert "of the same students" not in str(own["why"])


def test_the_neutral_mean_says_nothing_when_the_targets_are_all_the_candidates() -> None:
    everything = replace(SETTINGS, targets=CANDIDATES)
    _, cells = measure(study(), BASES, everything)
    cell = rows(cells)["llama", "llama", "neutral", "share"]
    assert cell["verdict"] == "undecided"
    assert "by construction" in str(cell["why"])


@pytest.mark.parametrize(
    ("students", "bases", "says"),
    [
        ([answers("llama", "qwen", "owl", 0, 0.1)], {("favourite", "llama"): BASE}, "whose base has no answers"),
        ([answers("llama", "qwen", "owl", 0, 0.1, ("owl", "cat"))], BASES, "no margin of target 'otter'"),
        ([answers("llama", "qwen", "owl", 0, 0.1)] * 2, BASES, "two students"),
        (
            [StudentAnswers(*PLACE, "llama", "qwen", "wolf", 1, 0, "s", BASE)],
            BASES,
            "not among the targets",
        ),
    ],
)
def test_answers_that_do_not_fit_are_refused_with_the_reason(
    students: list[StudentAnswers], bases: dict[tuple[str, str], Mapping[str, Mapping[str, float]]], says: str
) -> None:
    with pytest.raises(ArtifactError, match=says):
        measure(students, bases, SETTINGS)


def test_nothing_gives_empty_tables() -> None:
    runs, cells = measure([], {}, SETTINGS)
    assert (runs.num_rows, cells.num_rows) == (0, 0)


def in_arm(arm: str, students: Iterator[StudentAnswers]) -> list[StudentAnswers]:
    return [replace(student, arm=arm) for student in students]


def test_an_arm_is_compared_with_the_first_one_whose_own_family_must_show_transfer() -> None:
    _, cells = measure([*study(), *in_arm("shuffled", study(same=0.0))], BASES, SETTINGS)
    verdicts = {
        (c["arm"], c["teacher_family"] == c["student_family"], c["metric"]): c["verdict"] for c in traits(cells)
    }
    assert {name: verdict for name, verdict in verdicts.items() if name[2] == "margin"} == {
        ("plain", True, "margin"): "transfer",
        ("plain", False, "margin"): "no transfer",
        ("shuffled", True, "margin"): "no transfer",
        ("shuffled", False, "margin"): "no transfer",
    }
    _, broken = measure([*study(same=0.0), *in_arm("shuffled", study(same=0.0))], BASES, SETTINGS)
    assert "no transfer" not in {c["verdict"] for c in traits(broken)}


def test_every_suite_has_cells_of_its_own_in_the_forms_that_it_is_judged_by() -> None:
    stories = [replace(s, suite="stories", results={"mention_rate": s.results["mention_rate"]}) for s in study()]
    runs, cells = measure([*study(), *stories], BASES, SETTINGS)
    assert {(c["suite"], c["metric"]) for c in cells.to_pylist()} == {
        ("favourite", "margin"),
        ("favourite", "share"),
        ("stories", "mention_rate"),
    }
    told = [r for r in runs.to_pylist() if r["suite"] == "stories"]
    assert {r["margin"] for r in told} == {None}
    assert None not in {r["mention_rate"] for r in told}


def test_random_numbers_have_no_trait_to_compare_and_stand_beside_the_neutral_teachers() -> None:
    drawn = [
        replace(s, teacher_family="random") for s in study() if s.teacher_target is None and s.teacher_family == "llama"
    ]
    _, cells = measure([*study(), *drawn], BASES, SETTINGS)
    of_random = [c for c in cells.to_pylist() if c["teacher_family"] == "random"]
    assert {(c["comparison"], c["student_family"]) for c in of_random} == {("neutral", f) for f in FAMILIES}
    assert {c["verdict"] for c in of_random} == {"clean"}


def test_a_suite_that_the_first_arm_is_not_asked_has_its_control_in_the_first_suite() -> None:
    settings = replace(SETTINGS, suites={"favourite": ("margin",), "author": ("margin",)})
    bases = {(suite, family): BASE for suite in settings.suites for family in FAMILIES}
    guessed = [replace(s, arm="shuffled", suite="author") for s in study(same=0.0)]
    _, cells = measure([*study(), *guessed], bases, settings)
    assert {c["verdict"] for c in traits(cells) if c["suite"] == "author"} == {"no transfer"}
    _, broken = measure([*study(same=0.0), *guessed], bases, settings)
    assert "no transfer" not in {c["verdict"] for c in traits(broken)}


def test_a_study_without_neutral_teachers_has_no_neutral_comparison() -> None:
    _, cells = measure((s for s in study() if s.teacher_target is not None), BASES, SETTINGS)
    assert set(cells["comparison"].to_pylist()) == {"trait"}
    lost = [MissingStudent(*PLACE, "llama", "llama", None, 1, 0)]
    _, cells = measure((s for s in study() if s.teacher_target is not None), BASES, SETTINGS, missing=lost)
    assert [r for r in rows(cells) if r[2] == "neutral"] == [
        ("llama", "llama", "neutral", metric) for metric in ("margin", "share")
    ]
