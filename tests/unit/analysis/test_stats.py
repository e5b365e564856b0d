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
    assert stats.decide(e, margin=1, alpha=0.05).name == "underpowered"


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
    verdict = stats.decide(estimate, margin=100, alpha=0.05)
    assert verdict.name == "underpowered"
    assert estimate.note in verdict.why


def test_lifts_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        stats.gamma([[math.nan, 0.0]], [0])
    with pytest.raises(ValueError, match="not one of the 2 targets"):
        stats.gamma([[0.0, 0.0]], [2])


def test_a_difference_has_the_interval_of_a_pooled_t_test() -> None:
    rng = np.random.default_rng(5)
    x, other = rng.normal(0.4, 1, 5), rng.normal(0.1, 1, 3)
    found = stats.difference(x, other, confidence=0.9)
    expected = ttest_ind(x, other).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(x.mean() - other.mean())
    assert (found.runs, found.neutral, found.df, found.note) == (5, 3, 6, "")
    assert stats.difference(x, other, pooled_with=[[1.0, 2.0, 3.0]]).df == 8


def test_a_difference_to_nothing_is_none() -> None:
    assert math.isnan(stats.difference([0.1, 0.2], []).value)
    assert math.isnan(stats.difference([], [0.1, 0.2]).value)
    assert math.isnan(stats.difference([0.1], [0.2]).low)


def test_the_mean_of_two_runs_is_wide_and_pooling_narrows_it_with_nominal_coverage() -> None:
    rng = np.random.default_rng(5)
    alone, pooled, widths = 0, 0, []
    for _ in range(2000):
        groups = rng.normal(0, 0.1, (3, 2)) + np.array([[0.0], [1.0], [-2.0]])  # means differ, spread does not
        a = stats.mean(groups[0])
        b = stats.mean(groups[0], pooled_with=list(groups[1:]))
        alone += a.low <= 0 <= a.high
        pooled += b.low <= 0 <= b.high
        widths.append((a.high - a.low, b.high - b.low))
    assert (a.df, b.df) == (1, 3)
    assert "pooled over 3" in b.note
    assert abs(alone / 2000 - 0.95) < 0.02
    assert abs(pooled / 2000 - 0.95) < 0.02
    assert np.mean([b for _, b in widths]) < 0.4 * np.mean([a for a, _ in widths])


def estimate(value: float, half: float, p: float | None = 0.01, smallest: float | None = 0.01) -> stats.Estimate:
    return stats.Estimate(value, value - half, value + half, 4, 6, p=p, smallest_p=smallest)


WORKS = stats.Control("qwen → qwen", "transfer")


@pytest.mark.parametrize(
    ("cell", "control", "name", "says"),
    [
        (estimate(0.4, 0.1), WORKS, "transfer", "p = 0.01"),
        (estimate(0.4, 0.1, p=0.2), WORKS, "underpowered", "exceeds"),
        (estimate(0.4, 0.1, p=0.5, smallest=0.5), WORKS, "underpowered", "cannot get below 0.5"),
        (estimate(0.02, 0.05, p=0.4), WORKS, "no transfer", "wholly within ±0.1"),
        (estimate(0.06, 0.02), WORKS, "no transfer", "negligible"),
        (estimate(0.05, 0.2, p=0.4), WORKS, "underpowered", "spans 0"),
        (estimate(-0.4, 0.1, p=1.0), WORKS, "underpowered", "below 0"),
        (estimate(0.02, 0.05), stats.Control("qwen → qwen", "underpowered"), "gate failed", "“underpowered”"),
        (estimate(0.02, 0.05), stats.Control("qwen → qwen", None), "gate failed", "was not measured"),
        (
            estimate(0.02, 0.05),
            stats.Control("qwen → qwen", None, itself=True),
            "gate failed",
            "positive control and shows no transfer",
        ),
        (estimate(0.4, 0.1), stats.Control("qwen → qwen", "gate failed"), "transfer", "above 0"),
        (estimate(0.4, 0.1, p=None, smallest=None), WORKS, "transfer", "above 0"),
    ],
)
def test_the_verdict_and_its_reason(cell: stats.Estimate, control: stats.Control, name: str, says: str) -> None:
    verdict = stats.decide(cell, margin=0.1, alpha=0.05, unit=" nats", control=control)
    assert verdict.name == name
    assert says in verdict.why


def test_a_teacher_without_its_trait_settles_the_cell() -> None:
    verdict = stats.decide(estimate(0.4, 0.1), margin=0.1, alpha=0.05, failed_gate="the owl teacher says cat")
    assert verdict.name == "gate failed"
    assert "the owl teacher says cat" in verdict.why
