"""What a design can show, against the table that was simulated, and against the analysis itself."""

import math

import numpy as np
import pytest

from pipeline.analysis import stats
from pipeline.analysis.power import (
    ACROSS_FAMILIES,
    OWN_FAMILY,
    Design,
    Spread,
    detectable_effect,
    equivalence_power,
    power,
    smallest_p,
)
from pipeline.analysis.verdict import decide


@pytest.mark.parametrize(("teachers", "seeds"), [(1, 8), (3, 3)])
def test_too_few_teachers_can_show_nothing_however_many_students_they_have(teachers: int, seeds: int) -> None:
    design = Design(teachers, seeds)
    assert detectable_effect(design, OWN_FAMILY, 0.95) == math.inf
    assert equivalence_power(10.0, design, OWN_FAMILY, 0.95) == 0


def test_thousands_of_teachers_find_what_there_is() -> None:
    design = Design(10_000, 1)
    assert smallest_p(design) == 0
    assert 0 < detectable_effect(design, OWN_FAMILY, 0.95) < 0.01
    assert equivalence_power(0.1, design, OWN_FAMILY, 0.95) == pytest.approx(1)


def test_a_higher_confidence_needs_more_teachers() -> None:
    assert smallest_p(Design(4, 1)) == pytest.approx(1 / 24)
    assert power(5.0, Design(4, 8), OWN_FAMILY, 0.99) == 0
    assert power(5.0, Design(5, 8), OWN_FAMILY, 0.99) > 0.9


def test_drawn_traits_are_compared_with_all_draws() -> None:
    """As stats.draw_p counts them; three drawn teachers can give a verdict."""
    assert smallest_p(Design(3, 1, drawn_from=19)) == pytest.approx(1 / (19 * 18 * 17))
    assert smallest_p(Design(4, 1, drawn_from=4)) == pytest.approx(1 / 24)
    assert power(5.0, Design(3, 8, drawn_from=19), OWN_FAMILY, 0.95) > 0.9
    assert power(5.0, Design(3, 8), OWN_FAMILY, 0.95) == 0


def test_another_teacher_is_worth_more_than_another_seed() -> None:
    base, seed, teacher = (detectable_effect(Design(*d), OWN_FAMILY, 0.95) for d in ((5, 2), (5, 3), (6, 2)))
    assert teacher < seed < base


@pytest.mark.slow
@pytest.mark.parametrize(("teachers", "seeds", "effect"), [(5, 3, 0.25), (8, 1, 0.2), (4, 2, 0.4)])
def test_it_is_the_power_of_the_analysis(teachers: int, seeds: int, effect: float) -> None:
    rng, spread, trials = np.random.default_rng(9), Spread(0.11, 0.0, 0.08, 0.1), 600
    targets = [t for t in range(teachers) for _ in range(seeds)]
    found = nulls = 0
    for _ in range(trials):
        lifts = rng.normal(0, spread.teacher, (teachers, teachers)) + np.diag(
            rng.normal(effect, spread.effect, teachers)
        )
        runs = np.repeat(lifts, seeds, axis=0)
        runs = runs + rng.normal(0, spread.run, runs.shape)
        estimate = stats.trait_effect(runs, targets, permutations=2_000)
        found += decide(estimate, margin=0.01, alpha=0.05).name == "transfer"
        nulls += estimate.low >= -0.4 and estimate.high <= 0.4
    design = Design(teachers, seeds)
    assert found / trials == pytest.approx(power(effect, design, spread, 0.95), abs=0.06)
    assert nulls / trials == pytest.approx(equivalence_power(0.4, design, spread, 0.95, effect), abs=0.06)


@pytest.mark.parametrize(
    ("design", "own", "across"),
    [
        (Design(5, 1), (0.289, 0.09), (0.192, 0.37)),
        (Design(5, 3), (0.254, 0.15), (0.141, 0.73)),
        (Design(10, 1), (0.149, 0.62), (0.099, 0.98)),
        (Design(8, 3), (0.157, 0.56), (0.087, 1.0)),
        (Design(19, 1), (0.097, 0.98), (0.064, 1.0)),
    ],
)
def test_the_quickstarts_spread_gives_the_figures_of_the_simulation(
    design: Design, own: tuple[float, float], across: tuple[float, float]
) -> None:
    for spread, (effect, null) in ((OWN_FAMILY, own), (ACROSS_FAMILIES, across)):
        assert detectable_effect(design, spread, 0.95) == pytest.approx(effect, abs=0.002)
        assert equivalence_power(0.15, design, spread, 0.95) == pytest.approx(null, abs=0.01)
