"""The statistics against brute force, against simulation, and at the edges where they must decline."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ttest_ind

from pipeline.analysis import stats
from pipeline.analysis.verdict import decide

SMALL = [0, 0, 1, 1, 2, 2, None, None]  # 3 traits × 2 seeds, 2 neutral runs


def least_squares(lifts: NDArray[np.float64], teacher_target: list[int | None]) -> float:
    """γ by the full design matrix, as the docstring of `stats.gamma` states the model."""
    runs, targets = lifts.shape
    rows = []
    for r, k in itertools.product(range(runs), range(targets)):
        run, target = np.eye(runs)[r], np.eye(targets)[k]
        rows.append([*run, *target, float(teacher_target[r] == k)])
    return float(np.linalg.lstsq(np.array(rows), lifts.reshape(-1), rcond=None)[0][-1])


def lifts_of(teacher_target: list[int | None], targets: int, seed: int = 0, effect: float = 0.0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    y = (
        rng.normal(0, 0.1, (len(teacher_target), targets))
        + rng.normal(0, 1, (len(teacher_target), 1))
        + rng.normal(0, 1, targets)
    )
    for r, t in enumerate(teacher_target):
        if t is not None:
            y[r, t] += effect
    return np.asarray(y, dtype=np.float64)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 5).flatmap(
        lambda k: st.tuples(st.just(k), st.lists(st.one_of(st.none(), st.integers(0, k - 1)), min_size=2, max_size=9))
    ),
    st.integers(0, 10_000),
)
def test_gamma_is_least_squares_in_any_design(design: tuple[int, list[int | None]], seed: int) -> None:
    targets, teacher_target = design
    trait_runs = [t for t in teacher_target if t is not None]
    identified = len(set(trait_runs)) > 1 or (bool(trait_runs) and None in teacher_target)
    y = lifts_of(teacher_target, targets, seed)
    e = stats.gamma(y, teacher_target, permutations=50)
    assert math.isfinite(e.value) == identified
    if identified:
        assert e.value == pytest.approx(least_squares(y, teacher_target), abs=1e-8)
        assert e.p is not None
        assert 0 < e.p <= 1
    if math.isfinite(e.low):
        assert e.low <= e.value <= e.high
        without = [np.delete(y, r, axis=0) for r in range(len(teacher_target))]
        refits = [least_squares(w, teacher_target[:r] + teacher_target[r + 1 :]) for r, w in enumerate(without)]
        assert e.leave_one_out == pytest.approx((min(refits), max(refits)), abs=1e-8)


def test_what_every_student_shares_is_no_transfer() -> None:
    """A run that drifts on all targets, and a target that drifts in all runs, leave γ alone."""
    y = lifts_of(SMALL, 3, effect=0.4)
    drifted = y + np.arange(8)[:, None] + np.array([5.0, -3.0, 0.0])
    assert stats.gamma(drifted, SMALL).value == pytest.approx(stats.gamma(y, SMALL).value)


def coverage(
    teacher_target: list[int | None], targets: int, *, effects: object, run_sd: float, correlated: bool
) -> float:
    """Share of 95 % intervals that hold the true γ of the design; `effects` is γ of each trait."""
    rng = np.random.default_rng(11)
    each = np.broadcast_to(np.asarray(effects, dtype=np.float64), (targets,))
    shape = (len(teacher_target), targets)
    indicator = np.array([[float(t == k) for k in range(targets)] for t in teacher_target])
    truth = least_squares(indicator * each, teacher_target)
    mix = np.linalg.cholesky(0.4 * np.eye(targets) + 0.6) * np.linspace(0.5, 2, targets)[:, None]
    hits, trials = 0, 700
    for _ in range(trials):
        noise = 0.1 * rng.normal(size=shape) @ (mix.T if correlated else np.eye(targets))
        y = noise + rng.normal(size=(len(teacher_target), 1)) + rng.normal(size=targets)
        y = y + indicator * (each + run_sd * rng.normal(size=(len(teacher_target), 1)))
        e = stats.gamma(y, teacher_target, permutations=1)
        hits += e.low <= truth <= e.high
    return hits / trials


@pytest.mark.slow
@pytest.mark.parametrize(
    ("effects", "run_sd", "correlated"),
    [(0.0, 0.0, False), (0.0, 0.0, True), (0.4, 0.0, False), (0.4, 0.3, False), ([0.1, 0.4, 0.7], 0.1, True)],
    ids=["null", "null, correlated targets", "effect", "runs differ", "traits differ"],
)
def test_the_interval_covers_in_the_smallest_realistic_design(effects: object, run_sd: float, correlated: bool) -> None:
    assert coverage(SMALL, 3, effects=effects, run_sd=run_sd, correlated=correlated) >= 0.935


def test_the_interval_covers_in_a_lopsided_design_where_runs_minus_one_would_not() -> None:
    """Eight runs of one trait and two neutral ones: the evidence is only as good as the two."""
    lopsided: list[int | None] = [0] * 8 + [None] * 2
    assert coverage(lopsided, 3, effects=0.0, run_sd=0.0, correlated=False) >= 0.935
    assert stats.gamma(lifts_of(lopsided, 3), lopsided).df < 3


def of_teachers(rng: np.random.Generator, teachers: int, seeds: int, effect: float = 0.0) -> NDArray[np.float64]:
    """Lifts of `seeds` runs per teacher, whose students share what is peculiar to it (sd .11; runs .08), and one row
    of neutral runs per seed: (R, T)."""
    peculiar = rng.normal(0, 0.11, (teachers + 1, teachers)) + effect * np.eye(teachers + 1, teachers)
    runs = np.repeat(peculiar, seeds, axis=0)
    return np.asarray(runs + rng.normal(0, 0.08, runs.shape), dtype=np.float64)


def targets_of(teachers: int, seeds: int) -> list[int | None]:
    return [t for t in [*range(teachers), None] for _ in range(seeds)]


@pytest.mark.slow
@pytest.mark.parametrize(("teachers", "seeds"), [(4, 1), (5, 3), (5, 8), (10, 2)])
def test_an_interval_over_teachers_covers_where_their_students_are_alike_and_one_over_runs_does_not(
    teachers: int, seeds: int
) -> None:
    rng, trials = np.random.default_rng(5), 400
    found = [
        stats.trait_effect(of_teachers(rng, teachers, seeds), targets_of(teachers, seeds), permutations=200)
        for _ in range(trials)
    ]
    assert sum(e.low <= 0 <= e.high for e in found) / trials >= 0.935
    assert sum(decide(e, margin=0.01, alpha=0.05).name == "transfer" for e in found) / trials <= 0.04
    over_runs = sum(e.run_low <= 0 <= e.run_high for e in found) / trials
    assert over_runs >= 0.935 if seeds == 1 else over_runs <= 0.92
    if seeds == 8:
        assert over_runs <= 0.7


def test_the_effect_over_teachers_is_found_and_its_p_is_over_their_permutations() -> None:
    y = of_teachers(np.random.default_rng(3), 5, 3, effect=0.5)
    e = stats.trait_effect(y, targets_of(5, 3))
    assert (e.teachers, e.runs, e.neutral, e.df) == (5, 15, 3, 4)
    assert e.low > 0
    assert e.p == e.smallest_p == 1 / math.factorial(5)
    assert e.value == pytest.approx(stats.gamma(y, targets_of(5, 3)).value, abs=1e-9)  # balanced: the same point
    assert (e.run_low, e.run_high) != (e.low, e.high)


def test_teachers_count_alike_however_many_students_they_have() -> None:
    """Ten students of one teacher say no more of the trait than two of another."""
    rng = np.random.default_rng(4)
    rows = [rng.normal(size=3) for _ in range(3)]
    few, many = [0, 1, 2], [0] * 10 + [1, 2]
    equal = stats.trait_effect([rows[t] for t in few], few)
    unequal = stats.trait_effect([rows[t] for t in many], many)
    assert unequal.value == pytest.approx(equal.value)
    assert (unequal.low, unequal.high) == pytest.approx((equal.low, equal.high))


def test_the_interval_is_not_idle() -> None:
    """It also excludes 0 where the effect is plain, so that coverage was not bought with width."""
    shown = [stats.gamma(lifts_of(SMALL, 3, seed, effect=0.4), SMALL).low > 0 for seed in range(100)]
    assert np.mean(shown) > 0.95


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=5), st.integers(0, 10_000))
def test_the_exact_p_counts_every_deal_of_the_labels(traits: list[int], seed: int) -> None:
    teacher_target: list[int | None] = [*traits, None, None]
    y = lifts_of(teacher_target, 3, seed, effect=0.05)
    observed = least_squares(y, teacher_target)
    deals = [least_squares(y, [*deal, None, None]) for deal in itertools.permutations(traits)]
    expected = np.mean([g >= observed - 1e-9 for g in deals])
    assert stats.gamma(y, teacher_target).p == pytest.approx(expected)


def test_the_exact_p_is_uniform_under_the_null() -> None:
    ps = np.array([stats.gamma(lifts_of(SMALL, 3, seed), SMALL).p for seed in range(600)], dtype=np.float64)
    for alpha in (0.05, 0.1, 0.5):
        assert np.mean(ps <= alpha) <= alpha + 3 * math.sqrt(alpha / 600)
    assert 0.44 < ps.mean() < 0.56


def test_a_drawn_p_is_near_the_exact_one_repeatable_and_never_zero() -> None:
    teacher_target: list[int | None] = [0, 0, 0, 1, 1, 1, 2, 2, 2]
    y = lifts_of(teacher_target, 3, seed=4, effect=0.08)
    exact = stats.gamma(y, teacher_target, permutations=1680).p
    drawn = stats.gamma(y, teacher_target, permutations=1679, seed=1)
    assert exact is not None
    assert drawn.p is not None
    assert drawn.p == pytest.approx(exact, abs=0.03)
    assert drawn == stats.gamma(y, teacher_target, permutations=1679, seed=1)
    plain = stats.gamma(lifts_of(teacher_target, 3, effect=50.0), teacher_target, permutations=99)
    assert plain.p == plain.smallest_p == 1 / 100


@pytest.mark.parametrize(
    ("teacher_target", "targets", "says"),
    [
        ([], 3, "no run"),
        ([None, None], 3, "no run"),
        ([0, 0, None], 1, "two targets"),
        ([1, 1, 1], 3, "same trait"),
    ],
)
def test_a_design_that_cannot_tell_says_why(teacher_target: list[int | None], targets: int, says: str) -> None:
    e = stats.gamma(np.zeros((len(teacher_target), targets)), teacher_target)
    assert math.isnan(e.value)
    assert math.isnan(e.low)
    assert says in e.note
    assert decide(e, margin=1, alpha=0.05).name == "underpowered"


@pytest.mark.parametrize(
    "estimate",
    [
        stats.gamma(lifts_of([0, None, None], 3), [0, None, None]),  # everything hangs on one run
        stats.gamma(lifts_of([0, 1], 2), [0, 1]),
        stats.gamma(np.tile([[1.0, 0.0], [0.0, 1.0]], (3, 1)), [0, 1] * 3),  # copies, not replicates
        stats.mean([0.1]),
        stats.mean([0.1, 0.1, 0.1]),
        stats.mean([]),
    ],
)
def test_too_little_gives_no_interval_and_never_a_null(estimate: stats.Estimate) -> None:
    assert math.isnan(estimate.low)
    assert math.isnan(estimate.high)
    verdict = decide(estimate, margin=100, alpha=0.05)
    assert verdict.name == "underpowered"
    assert estimate.note in verdict.why


def test_lifts_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        stats.gamma([[math.nan, 0.0]], [0])
    with pytest.raises(ValueError, match="not one of the 2 targets"):
        stats.gamma([[0.0, 0.0]], [2])


def test_a_difference_has_the_interval_of_welchs_t_test() -> None:
    rng = np.random.default_rng(5)
    x, other = rng.normal(0.4, 1, 5), rng.normal(0.1, 3, 3)
    found = stats.difference(x, other, confidence=0.9)
    expected = ttest_ind(x, other, equal_var=False, alternative="two-sided")
    interval = expected.confidence_interval(0.9)
    assert (found.low, found.high, found.df) == pytest.approx((interval.low, interval.high, expected.df))
    above = ttest_ind(x, other, equal_var=False, alternative="greater")
    assert stats.p_effect(found) == pytest.approx(above.pvalue)
    nearer = ttest_ind(
        np.sign(found.value) * x - 2.0, np.sign(found.value) * other, equal_var=False, alternative="less"
    )
    assert stats.p_null(found, 2.0) == pytest.approx(nearer.pvalue)
    assert found.value == pytest.approx(x.mean() - other.mean())
    assert (found.runs, found.neutral, found.note) == (5, 3, "")


def test_without_an_error_nothing_is_claimed() -> None:
    alone = stats.mean([0.3])
    assert (stats.p_effect(alone), stats.p_null(alone, 1.0)) == (1.0, 1.0)


def test_holms_correction_of_a_worked_example() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.6, 0.7]) == [1.0, 1.0]
    assert stats.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holms_correction_keeps_order_and_lies_between_the_raw_and_bonferronis(p_values: list[float]) -> None:
    adjusted = stats.holm(p_values)
    for p, found in zip(p_values, adjusted, strict=True):
        assert p <= found <= min(1.0, p * len(p_values)) + 1e-12
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)


def test_a_difference_to_nothing_is_none() -> None:
    assert math.isnan(stats.difference([0.1, 0.2], []).value)
    assert math.isnan(stats.difference([], [0.1, 0.2]).value)
    assert math.isnan(stats.difference([0.1], [0.2]).low)


@pytest.mark.parametrize("teachers", [2, 3])
def test_p_of_drawn_targets_counts_every_draw_by_brute_force(teachers: int) -> None:
    rng = np.random.default_rng(3)
    lifts = rng.normal(0, 0.1, (teachers + 1, 6))  # and a neutral row
    taught = [4, 1, 5][:teachers]
    lifts[np.arange(teachers), taught] += 0.15
    centred = lifts - lifts.mean(axis=1, keepdims=True) - lifts.mean(axis=0) + lifts.mean()
    sums = [sum(centred[t, c] for t, c in enumerate(draw)) for draw in itertools.permutations(range(6), teachers)]
    observed = sum(centred[t, c] for t, c in enumerate(taught))
    p, smallest = stats.draw_p(lifts, [*taught, -1])
    assert p == pytest.approx(np.mean([total >= observed - 1e-12 for total in sums]))
    assert smallest == pytest.approx(1 / len(sums))
    drawn, least = stats.draw_p(lifts, [*taught, -1], draws=20)
    assert least == 1 / 21
    assert 0 < drawn <= 1


@pytest.mark.slow
def test_p_of_drawn_targets_is_valid_for_three_teachers_and_can_be_small() -> None:
    """Teachers differ by .11 nats and runs by .08, and none has an effect: the size is that of α."""
    rng, reached, trials = np.random.default_rng(8), 0, 400
    for _ in range(trials):
        columns = rng.choice(19, 3, replace=False)
        everything = rng.normal(0, 0.11, (4, 19)) + rng.normal(0, 0.08, (4, 19)) + rng.normal(0, 0.1, 19)
        p, smallest = stats.draw_p(everything, [*columns, -1], draws=6_000)
        reached += p <= 0.05
    assert smallest == pytest.approx(1 / 5_814)
    assert reached / trials < 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5


def test_three_teachers_of_drawn_targets_keep_their_interval_and_get_another_p() -> None:
    rng = np.random.default_rng(5)
    taught = [0, 0, 1, 1, 2, 2, None]
    everything = rng.normal(0, 0.02, (7, 19))
    everything[range(6), [3, 3, 9, 9, 14, 14]] += 0.5
    lifts = everything[:, [3, 9, 14]]
    plain = stats.trait_effect(lifts, taught)
    found = stats.trait_effect(lifts, taught, drawn=stats.Drawn(everything, [3, 9, 14]))
    assert (found.low, found.high, found.value) == (plain.low, plain.high, plain.value)
    assert plain.p == pytest.approx(1 / 6)
    assert found.p == found.smallest_p == pytest.approx(1 / 5_814)
    assert decide(plain, margin=0.1, alpha=0.05).name == "underpowered"
    verdict = decide(found, margin=0.1, alpha=0.05)
    assert verdict.name == "transfer"
    assert "draw p = 0.00017" in verdict.why
