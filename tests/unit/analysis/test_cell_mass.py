"""Verdicts where models hardly ever say a candidate: margins of such models are meaningless."""

from collections.abc import Mapping
from dataclasses import replace

from pipeline.analysis.design import MissingStudent
from pipeline.analysis.transfer import StudentAnswers, measure
from pipeline.core.reasons import NOT_MEASURED
from tests.cells import BASE, BASES, CANDIDATES, PLACE, SETTINGS, TARGETS, rows, study


def held(student: StudentAnswers, mass: float) -> StudentAnswers:
    """The same student, whose candidates hold so much of the probability together."""
    return replace(student, results={**student.results, "mass": dict.fromkeys(CANDIDATES, mass)})


def bases(llama: float, qwen: float) -> dict[tuple[str, str], Mapping[str, Mapping[str, float]]]:
    masses = {"llama": llama, "qwen": qwen}
    return {key: {**BASE, "mass": dict.fromkeys(CANDIDATES, masses[key[1]])} for key in BASES}


MASSIVE = replace(SETTINGS, min_mass=0.1)


def test_a_base_that_hardly_ever_says_a_candidate_gives_no_verdict_on_its_students() -> None:
    runs, cells = measure((held(s, 0.9) for s in study()), bases(0.0006, 0.99), MASSIVE)
    for (_, student, _, _), cell in rows(cells).items():
        assert (cell["verdict"] == "not measured") == (student == "llama"), cell["why"]
    why = str(rows(cells)["llama", "llama", "trait", "margin"]["why"])
    assert "the base (0.0006)" in why
    assert "measure.min_mass = 0.1" in why
    assert set(runs["mass"].to_pylist()) == {0.9}
    assert set(runs["base_mass"].to_pylist()) == {0.0006, 0.99}


def test_one_student_that_forgot_the_candidates_is_named_and_its_cells_have_no_verdict() -> None:
    def lost(student: StudentAnswers) -> bool:
        return student.student == "student-owl-llama-llama-1-1"

    _, cells = measure((held(s, 1e-5 if lost(s) else 0.9) for s in study()), bases(0.9, 0.9), MASSIVE)
    by_cell = rows(cells)
    spoiled = by_cell["llama", "llama", "trait", "margin"]
    assert spoiled["verdict"] == "not measured"
    assert "owl s1 (1e-05)" in str(spoiled["why"])
    assert "the base" not in str(spoiled["why"])
    # A null of llama's students has its control there no more. The neutral comparison does not rest on that run.
    assert by_cell["qwen", "qwen", "trait", "margin"]["verdict"] == "transfer"
    assert by_cell["qwen", "llama", "trait", "share"]["verdict"] == "gate failed"
    assert "“not measured”" in str(by_cell["qwen", "llama", "trait", "share"]["why"])
    assert by_cell["llama", "llama", "neutral", "share"]["verdict"] == "clean"


def test_the_minimum_is_a_setting_and_an_unknown_mass_is_no_low_one() -> None:
    _, low = measure((held(s, 0.05) for s in study()), bases(0.05, 0.05), replace(SETTINGS, min_mass=0.05))
    _, unknown = measure(study(), BASES, MASSIVE)
    for cells in (low, unknown):
        assert "not measured" not in cells["verdict"].to_pylist()


def test_the_lowest_category_of_a_run_counts() -> None:
    def uneven(student: StudentAnswers) -> StudentAnswers:
        return replace(student, results={**student.results, "mass": {"owl": 0.9, "cat": 0.9, "otter": 0.01}})

    _, cells = measure(map(uneven, study()), bases(0.9, 0.9), MASSIVE)
    assert set(cells["verdict"].to_pylist()) == {"not measured"}


def test_sampled_answers_are_judged_whatever_the_candidates_hold() -> None:
    stories = (replace(held(s, 1e-9), suite="stories") for s in study())
    _, cells = measure(stories, bases(1e-9, 1e-9), MASSIVE)
    assert set(cells["metric"].to_pylist()) == {"mention_rate"}
    assert "not measured" not in cells["verdict"].to_pylist()


def test_a_cell_whose_teachers_could_not_be_measured_is_not_measured() -> None:
    lost = [MissingStudent(*PLACE, "llama", "llama", target, 1, 0, NOT_MEASURED) for target in TARGETS]
    neutral = [s for s in study() if s.teacher_target is None]
    _, cells = measure(neutral, BASES, MASSIVE, missing=lost)
    cell = rows(cells)["llama", "llama", "trait", "margin"]
    assert cell["verdict"] == "not measured"
    assert "teachers.gate.min_mass" in str(cell["why"])
