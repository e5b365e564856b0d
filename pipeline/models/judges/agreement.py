"""How well a judge agrees with rows that were labelled by hand. Pure: numpy and scipy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm, rankdata

NAN = float("nan")
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Roc:
    """The judge at every threshold that separates rows, the strictest first: (T,) each.

    A row counts as positive if its score is at least the threshold (at most, if low scores are positive). The
    first point is (0, 0), at an infinite threshold; the last is (1, 1).
    """

    thresholds: Floats
    false_positive_rate: Floats
    true_positive_rate: Floats


@dataclass(frozen=True)
class Agreement:
    """Shares are of 1, and NaN if there are no rows to compute them from.

    rows, unparsed       all rows, and those among them without a score; the rest are the scored rows
    positives, negatives labels of the scored rows
    accuracy             share of the scored rows on the label's side of the threshold
    least_accuracy       the same over all rows, counting a row without a score as wrong
    kappa                Cohen's κ of the scored rows (Educ. Psychol. Meas. 20, 1960): agreement beyond chance
    auc, low, high       P(a positive row scores beyond a negative one) + ½ P(they tie), and its interval
    roc                  None without scored rows of both labels
    """

    rows: int
    unparsed: int
    positives: int
    negatives: int
    accuracy: float
    least_accuracy: float
    kappa: float
    auc: float
    low: float
    high: float
    roc: Roc | None


def agreement(
    labels: Sequence[bool],
    scores: Sequence[float | None],
    *,
    threshold: float,
    positive: Literal["high", "low"] = "high",
    confidence: float = 0.95,
) -> Agreement:
    """A judge's scores against labels, one of each per row.

    A row counts as positive if its score is ≥ threshold, or ≤ threshold with positive="low". Rows are assumed to be
    independent of each other. Raises ValueError for unequal lengths and for scores that are not finite.
    """
    if len(labels) != len(scores):
        raise ValueError(f"{len(labels)} labels and {len(scores)} scores")
    scored = np.array([score is not None for score in scores], dtype=np.bool_)
    x = np.array([score for score in scores if score is not None], dtype=np.float64)
    truth = np.array(labels, dtype=np.bool_)[scored]
    if not np.isfinite(x).all():
        raise ValueError("scores must be finite; a row without one has None")
    predicted = x >= threshold if positive == "high" else x <= threshold
    right = int((predicted == truth).sum())
    positives, negatives = int(truth.sum()), int((~truth).sum())
    area = auc(truth, x if positive == "high" else -x)
    low, high = auc_interval(area, positives, negatives, confidence)
    return Agreement(
        rows=len(labels),
        unparsed=len(labels) - len(x),
        positives=positives,
        negatives=negatives,
        accuracy=right / len(x) if len(x) else NAN,
        least_accuracy=right / len(labels) if len(labels) else NAN,
        kappa=_kappa(truth, predicted),
        auc=area,
        low=low,
        high=high,
        roc=_roc(truth, x, positive) if positives and negatives else None,
    )


def auc(truth: Flags, scores: Floats) -> float:
    """The area under the ROC curve, ties counting half: Mann and Whitney's U over its largest value. (N,) each."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return NAN
    u = float(rankdata(scores)[truth].sum()) - positives * (positives + 1) / 2
    return u / (positives * negatives)


def auc_interval(area: float, positives: int, negatives: int, confidence: float) -> tuple[float, float]:
    """The interval of areas A that are consistent with `area`: |area − A| ≤ z·SE(A); NaN if `area` is NaN.

    SE(A)² is Hanley and McNeil's (Radiology 143:29, 1982), with both sample sizes less one replaced by their mean:
    method 5 of Newcombe (Stat. Med. 25:559, 2006). The variance is taken at A, not at `area`, so that a perfect
    area has an interval too, and no interval reaches beyond 0 or 1.
    """
    if math.isnan(area):
        return NAN, NAN
    z = float(norm.ppf(0.5 + confidence / 2))
    others = (positives + negatives) / 2 - 1

    def beyond(a: float) -> float:
        """Above 0 if `area` lies further from a than chance explains."""
        variance = a * (1 - a) / (positives * negatives) * (1 + others * ((1 - a) / (2 - a) + a / (1 + a)))
        return (area - a) ** 2 - z**2 * variance

    tiny = 1e-9
    low = float(brentq(beyond, 0, area - tiny)) if area > tiny else 0.0
    high = float(brentq(beyond, area + tiny, 1)) if area < 1 - tiny else 1.0
    return low, high


def _kappa(truth: Flags, predicted: Flags) -> float:
    """NaN if all labels and verdicts are the same one, because chance alone would give that."""
    if not len(truth):
        return NAN
    share, predicted_share = float(truth.mean()), float(predicted.mean())
    chance = share * predicted_share + (1 - share) * (1 - predicted_share)
    return (float((truth == predicted).mean()) - chance) / (1 - chance) if chance < 1 else NAN


def _roc(truth: Flags, scores: Floats, positive: Literal["high", "low"]) -> Roc:
    sign = 1.0 if positive == "high" else -1.0
    values, which = np.unique(-sign * scores, return_inverse=True)  # the most positive first
    hits = np.bincount(which, weights=truth, minlength=len(values)).cumsum()
    alarms = np.bincount(which, weights=~truth, minlength=len(values)).cumsum()
    return Roc(
        thresholds=np.concatenate([[sign * np.inf], -sign * values]),
        false_positive_rate=np.concatenate([[0.0], alarms / alarms[-1]]),
        true_positive_rate=np.concatenate([[0.0], hits / hits[-1]]),
    )
