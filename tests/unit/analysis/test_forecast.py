"""Forecasts from scores: isotonic fits, ranks, and intervals over corpora."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.analysis.forecast import LIKELY, UNLIKELY, auroc, fit, over_corpora, reliability, resampled, roc, spearman

NUMBERS = st.lists(st.tuples(st.floats(-5, 5), st.floats(-1, 1)), min_size=3, max_size=60)


def drawn(slope: float, pairs: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=pairs)
    return scores, slope * scores + 0.3 * rng.normal(size=pairs)


@settings(deadline=None)
@given(pairs=NUMBERS)
@example(pairs=[(1.0, 0.0), (1.0, 0.0), (2.2250738585e-313, 1.0), (-1.1020457292203664e-34, 0.0)])
@example(pairs=[(1.0, 0.0), (2.0, 1.0), (2.2250738585e-313, 1.0), (-2.225073858507e-311, 0.0)])
def test_a_higher_score_never_forecasts_less(pairs: list[tuple[float, float]]) -> None:
    scores, lifts = map(np.array, zip(*pairs, strict=True))
    if np.ptp(scores) == 0:
        with pytest.raises(ValueError, match="scores that differ"):
            fit(scores, lifts, 0.15)
        return
    found = [fit(scores, lifts, 0.15).at(score, 0.1) for score in np.linspace(-6, 6, 25)]
    assert all(
        a.probability <= b.probability + 1e-12 and a.lift <= b.lift + 1e-12 for a, b in itertools.pairwise(found)
    )
    assert all(0 <= one.low <= one.probability <= one.high <= 1 for one in found)


def test_pairs_of_one_score_may_come_in_any_order() -> None:
    scores, lifts = np.array([0.0, 0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.2, 0.0, 1.0])
    for order in itertools.permutations(range(5)):
        made = fit(scores[list(order)], lifts[list(order)], 0.5)
        assert made.probability_of(np.array([0.0, 1.0])) == pytest.approx([1 / 3, 1 / 2])
        assert made.lift_of(np.array([0.0, 1.0])) == pytest.approx([0.4, 0.5])


def test_a_clear_score_decides_and_an_uncertain_one_does_not() -> None:
    made = fit(*drawn(1.0), 0.15)
    assert made.at(2.0, 0.01).verdict == "likely"
    assert made.at(-2.0, 0.01).verdict == "unlikely"
    assert made.at(0.15, 1.5).verdict == "inconclusive"
    assert made.at(50.0, 0.0).beyond


def test_a_score_that_says_nothing_is_never_likely_nor_unlikely() -> None:
    made = fit(*drawn(0.0), 0.15)
    between = [made.at(score, 0.2) for score in np.linspace(-1, 1, 13)]
    assert {one.verdict for one in between} == {"inconclusive"}
    assert all(UNLIKELY < one.probability < LIKELY for one in between)


def test_forecasts_are_calibrated_where_they_were_fitted() -> None:
    scores, lifts = drawn(1.0, 2_000)
    made = fit(scores, lifts, 0.15)
    for forecast, share, count in reliability(made.probability_of(scores), lifts > 0.15):
        assert forecast == pytest.approx(share, abs=0.02)
        assert count == 400
    assert made.lift_of(scores).mean() == pytest.approx(lifts.mean(), abs=1e-6)


def test_ranks_by_hand() -> None:
    scores, positive = np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True])
    assert auroc(scores, positive) == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert np.isnan(auroc(scores, np.zeros(4, bool)))
    assert spearman(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1)


def test_the_corpus_is_the_unit_of_an_interval() -> None:
    """Ten targets of one corpus that move together are one observation, not ten."""
    scores, lifts = drawn(0.5, 40)
    alone = over_corpora("spearman", scores, lifts, [str(number) for number in range(40)], 0.15)
    copied = over_corpora(
        "spearman", np.repeat(scores, 10), np.repeat(lifts, 10), [str(number // 10) for number in range(400)], 0.15
    )
    assert copied[0] == pytest.approx(alone[0], abs=1e-6)
    assert copied[2] - copied[1] == pytest.approx(alone[2] - alone[1], rel=0.1)
    assert alone[1] < alone[0] < alone[2]


@settings(deadline=None)
@given(pairs=NUMBERS)
def test_the_area_under_the_curve_is_the_auroc(pairs: list[tuple[float, float]]) -> None:
    scores, lifts = map(np.array, zip(*pairs, strict=True))
    positive = lifts > 0.15
    if positive.all() or not positive.any():
        return
    false, true = roc(scores, positive)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) >= 0).all()
    assert np.trapezoid(true, false) == pytest.approx(auroc(scores, positive))


def test_corpora_are_drawn_whole() -> None:
    corpora = ["a", "a", "a", "b", "c", "c"]
    for chosen in resampled(corpora):
        counts = np.bincount(chosen, minlength=6)
        assert counts[0] == counts[1] == counts[2]
        assert counts[4] == counts[5]
        assert counts[0] + counts[3] + counts[4] == 3
