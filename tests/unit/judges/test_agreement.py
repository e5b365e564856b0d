"""Agreement with labels: against the definitions, a worked example, and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.models.judges.agreement import agreement, auc, auc_interval

ROWS = st.lists(st.tuples(st.booleans(), st.one_of(st.none(), st.integers(0, 6))), max_size=40)


def area_by_pairs(labels: list[bool], scores: list[float]) -> float:
    pairs = [
        (x > y) + 0.5 * (x == y)
        for x, positive in zip(scores, labels, strict=True)
        if positive
        for y, other in zip(scores, labels, strict=True)
        if not other
    ]
    return sum(pairs) / len(pairs) if pairs else math.nan


@settings(deadline=None)
@given(ROWS)
def test_the_area_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[bool, int | None]]) -> None:
    labels, scores = [label for label, _ in rows], [score for _, score in rows]
    found = agreement(labels, scores, threshold=3)
    scored = [(label, float(score)) for label, score in rows if score is not None]
    expected = area_by_pairs([label for label, _ in scored], [score for _, score in scored])
    assert found.auc == pytest.approx(expected, nan_ok=True)
    assert found.unparsed == len(rows) - len(scored)
    assert found.positives + found.negatives == len(scored)
    if math.isnan(expected):
        assert found.roc is None
        assert math.isnan(found.low)
        return
    assert found.roc is not None
    assert np.trapezoid(found.roc.true_positive_rate, found.roc.false_positive_rate) == pytest.approx(expected)
    assert 0 <= found.low <= found.auc <= found.high <= 1
    for threshold, alarms, hits in zip(
        found.roc.thresholds, found.roc.false_positive_rate, found.roc.true_positive_rate, strict=True
    ):
        assert hits == pytest.approx(np.mean([score >= threshold for label, score in scored if label]))
        assert alarms == pytest.approx(np.mean([score >= threshold for label, score in scored if not label]))


@settings(deadline=None)
@given(ROWS)
def test_low_scores_that_are_positive_mirror_high_ones(rows: list[tuple[bool, int | None]]) -> None:
    labels, scores = [label for label, _ in rows], [score for _, score in rows]
    high = agreement(labels, [None if score is None else -score for score in scores], threshold=-3)
    low = agreement(labels, scores, threshold=3, positive="low")
    for name in ("unparsed", "accuracy", "least_accuracy", "kappa", "auc", "low", "high"):
        assert getattr(low, name) == pytest.approx(getattr(high, name), nan_ok=True)
    if low.roc is not None and high.roc is not None:
        assert low.roc.thresholds == pytest.approx(-high.roc.thresholds)
        assert low.roc.true_positive_rate == pytest.approx(high.roc.true_positive_rate)
        assert low.roc.false_positive_rate == pytest.approx(high.roc.false_positive_rate)


def test_accuracy_and_kappa_at_the_threshold() -> None:
    # 20 hits, 5 misses, 10 false alarms, 15 rightly let go: 0.7 agree, 0.5 would by chance, so κ is 0.4.
    labels = [True] * 25 + [False] * 25
    scores: list[float | None] = [80] * 20 + [20] * 5 + [50] * 10 + [49.9] * 15
    found = agreement(labels, scores, threshold=50)
    assert (found.positives, found.negatives) == (25, 25)
    assert (found.accuracy, found.least_accuracy) == pytest.approx((0.7, 0.7))
    assert found.kappa == pytest.approx(0.4)


def test_a_row_without_a_score_is_counted_and_is_never_right() -> None:
    found = agreement([True, False, True, False], [90, 10, None, None], threshold=50)
    assert (found.rows, found.unparsed, found.accuracy, found.least_accuracy) == (4, 2, 1.0, 0.5)


def test_what_cannot_be_known_is_nan() -> None:
    for labels, scores in (([], []), ([True, False], [None, None])):
        found = agreement(labels, scores, threshold=50)
        assert all(math.isnan(x) for x in (found.accuracy, found.kappa, found.auc, found.low, found.high))
    assert math.isnan(agreement([], [], threshold=50).least_accuracy)
    assert agreement([True], [None], threshold=50).least_accuracy == 0
    only = agreement([True, True], [90, 80], threshold=50)
    assert only.accuracy == 1
    assert math.isnan(only.kappa)
    assert math.isnan(only.auc)


def test_mistakes_are_refused() -> None:
    with pytest.raises(ValueError, match="2 labels and 1 scores"):
        agreement([True, False], [1.0], threshold=1)
    for odd in (math.nan, math.inf):
        with pytest.raises(ValueError, match="must be finite"):
            agreement([True], [odd], threshold=1)


@pytest.mark.parametrize(("positives", "negatives"), [(1, 1), (3, 50), (20, 20), (1000, 1000)])
@pytest.mark.parametrize("area", [0.0, 0.5, 0.9, 1.0])
def test_the_interval_is_what_the_formula_says_and_mirrors(area: float, positives: int, negatives: int) -> None:
    low, high = auc_interval(area, positives, negatives, 0.95)
    assert 0 <= low < high <= 1
    assert auc_interval(1 - area, positives, negatives, 0.95) == pytest.approx((1 - high, 1 - low), abs=1e-7)
    for a, end in ((low, 0.0), (high, 1.0)):
        spread = (positives + negatives) / 2 - 1
        q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
        variance = (a * (1 - a) + spread * (q1 - a**2) + spread * (q2 - a**2)) / (positives * negatives)
        assert a == pytest.approx(end) or (area - a) ** 2 == pytest.approx(1.959964**2 * variance, rel=1e-3)
    assert auc_interval(area, positives, negatives, 0.99)[0] <= low


@pytest.mark.parametrize(("shift", "positives", "negatives"), [(0.0, 20, 20), (1.2, 15, 45), (2.5, 30, 30)])
def test_the_interval_covers_the_true_area(shift: float, positives: int, negatives: int) -> None:
    true = 0.5 * (1 + math.erf(shift / 2))  # of two normals, one standard deviation wide
    rng = np.random.default_rng(5)
    truth = np.array([True] * positives + [False] * negatives)
    covered = 0
    for _ in range(400):
        low, high = auc_interval(auc(truth, rng.normal(size=len(truth)) + shift * truth), positives, negatives, 0.95)
        covered += low <= true <= high
    assert 0.92 <= covered / 400 <= 1
