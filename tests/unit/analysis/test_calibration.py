"""Placebo tests with targets that nobody was taught: they find an analysis' errors, and none where there are none."""

import numpy as np
import pytest

from pipeline.analysis.calibration import placebo_test, simulate
from pipeline.analysis.power import Spread

TAUGHT = [teacher for teacher in range(10) for _ in range(2)]


def students(teacher: float, run: float, seed: int, runs: int = 2) -> np.ndarray:
    """Students of ten teachers, taught the first ten of 19 candidates, which they show by half a nat."""
    rng = np.random.default_rng(seed)
    lifts = np.repeat(rng.normal(0, teacher, (10, 19)), runs, axis=0) + rng.normal(0, run, (10 * runs, 19))
    lifts += rng.normal(0, 0.1, 19)  # what all students share
    lifts[np.arange(10 * runs), np.repeat(np.arange(10), runs)] += 0.5
    return lifts


@pytest.mark.slow
def test_intervals_over_teachers_err_as_often_as_they_say_and_those_over_runs_more_often() -> None:
    taught = [teacher for teacher in range(10) for _ in range(8)]
    found = [placebo_test(students(0.11, 0.08, seed, runs=8), taught, assignments=60, seed=seed) for seed in range(12)]
    assert np.mean([cell.false_positives for cell in found]) <= 0.035
    assert np.mean([cell.coverage for cell in found]) >= 0.93
    assert np.mean([cell.run_coverage for cell in found]) < 0.8
    assert np.mean([cell.run_false_positives for cell in found]) > np.mean([cell.false_positives for cell in found])


@pytest.mark.slow
def test_a_simulation_errs_as_the_students_do_and_without_teachers_as_stated() -> None:
    simulated = simulate(Spread(0.11, 0.0, 0.08), seeds=8, cells=400)
    assert simulated.false_positives <= 0.035
    assert simulated.coverage >= 0.93
    assert simulated.run_coverage < 0.8
    assert simulate(Spread(0.0, 0.0, 0.08), seeds=8, cells=400).run_coverage == pytest.approx(0.95, abs=0.03)


def test_an_assignment_is_of_candidates_that_nobody_was_taught() -> None:
    """Half a nat on every taught candidate, and no noise: whatever is assigned, nothing is seen of it."""
    found = placebo_test(students(0.0, 0.001, 1), TAUGHT, assignments=40)
    assert found.false_positives <= 0.1
    assert found.assignments == 40
    assert placebo_test(students(0.0, 0.001, 1), TAUGHT, assignments=40) == found


def test_too_few_teachers_or_candidates_are_refused() -> None:
    with pytest.raises(ValueError, match="there are 2 teachers and 17 candidates that nobody taught"):
        placebo_test(students(0.1, 0.1, 1)[:4], TAUGHT[:4])
    with pytest.raises(ValueError, match="and 2 candidates"):
        placebo_test(students(0.1, 0.1, 1)[:, :12], TAUGHT)
