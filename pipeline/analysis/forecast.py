"""From the score of a screen to the transfer that a student would show, by what was measured on other corpora.

Pure functions on arrays. N: pairs of a corpus and a target whose lift was measured. A screen only orders pairs, so that
the fit is isotonic: a higher score never forecasts less.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Verdict: TypeAlias = Literal["likely", "unlikely", "inconclusive"]

LIKELY = 0.5  # probability of a lift above the margin from which a forecast says likely; docs/screens.md
UNLIKELY = 0.1  # and up to which it says unlikely
RESAMPLES = 1_000
CONFIDENCE = 0.95
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


@dataclass(frozen=True)
class Forecast:
    """What pairs with such a score showed. probability: that the lift is above the margin. lift: expected, in nats.

    low, high: the probability at the score less, and plus, its standard error. beyond: the score lies outside of those
    that the fit has seen.
    """

    probability: float
    low: float
    high: float
    lift: float
    beyond: bool

    @property
    def verdict(self) -> Verdict:
        if self.low >= LIKELY:
            return "likely"
        return "unlikely" if self.high <= UNLIKELY else "inconclusive"


@dataclass(frozen=True)
class Fit:
    """An isotonic fit. scores (K), distinct, ascending; probabilities (K) of lift > margin; lifts (K), nats."""

    scores: Floats
    probabilities: Floats
    lifts: Floats

    def at(self, score: float, error: float) -> Forecast:
        """error: standard error of the score."""
        low, probability, high = map(float, self.probability_of(np.array([score - error, score, score + error])))
        low, high = min(low, probability), max(probability, high)  # between equal values, interpolation rounds
        beyond = not self.scores[0] <= score <= self.scores[-1]
        return Forecast(probability, low, high, float(self.lift_of(np.array([score]))[0]), beyond)

    def _read(self, values: Floats, scores: Floats) -> Floats:
        """Linear between the fit's scores. np.interp would divide by their distance first, which may be too small."""
        right = np.clip(np.searchsorted(self.scores, scores), 1, len(self.scores) - 1)
        left = right - 1
        with np.errstate(over="ignore"):
            share = np.clip((scores - self.scores[left]) / (self.scores[right] - self.scores[left]), 0, 1)
        found: Floats = np.clip(values[left] + share * (values[right] - values[left]), values[0], values[-1])
        return found

    def probability_of(self, scores: Floats) -> Floats:
        return self._read(self.probabilities, scores)

    def lift_of(self, scores: Floats) -> Floats:
        return self._read(self.lifts, scores)


def fit(scores: Floats, lifts: Floats, margin: float) -> Fit:
    """Fit on measured pairs. scores, lifts (N), nats. Raises ValueError if all scores are equal or there are none.

    Pairs of one score enter as their mean, so that their order does not matter.
    """
    from scipy.optimize import isotonic_regression

    if len(scores) < 2 or np.ptp(scores) == 0:
        raise ValueError("a forecast needs scores that differ")
    distinct, of, counts = np.unique(scores, return_inverse=True, return_counts=True)

    def fitted(values: Floats) -> Floats:
        return isotonic_regression(np.bincount(of, values) / counts, weights=counts).x

    return Fit(distinct, fitted((lifts > margin).astype(float)), fitted(lifts))


def auroc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """The probability that a positive pair has a higher score than another; ties count half. NaN without either."""
    from scipy.stats import rankdata

    count = int(positive.sum())
    if count in (0, len(positive)):
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(positive) - count)))


def spearman(scores: Floats, lifts: Floats) -> float:
    """The rank correlation. NaN if all scores or all lifts are equal."""
    if np.ptp(scores) == 0 or np.ptp(lifts) == 0:
        return float("nan")
    from scipy.stats import spearmanr

    return float(spearmanr(scores, lifts).statistic)


def over_corpora(statistic: str, scores: Floats, lifts: Floats, corpora: Sequence[str], margin: float) -> list[float]:
    """A statistic and its interval from resampled corpora: [value, low, high].

    statistic: "auroc" of lift > margin, or "spearman". The corpus is the unit: its targets share a student.
    """

    def value(chosen: NDArray[np.int64]) -> float:
        if statistic == "spearman":
            return spearman(scores[chosen], lifts[chosen])
        return auroc(scores[chosen], lifts[chosen] > margin)

    drawn = [value(chosen) for chosen in resampled(corpora)]
    low, high = np.nanquantile(drawn, TAILS)
    return [value(np.arange(len(scores))), float(low), float(high)]


def resampled(corpora: Sequence[str]) -> Iterator[NDArray[np.int64]]:
    """The numbers of the pairs of as many corpora as there are, drawn with replacement, RESAMPLES times."""
    names, of = np.unique(np.asarray(corpora), return_inverse=True)
    members = [np.flatnonzero(of == number) for number in range(len(names))]
    rng = np.random.default_rng(0)
    for _ in range(RESAMPLES):
        yield np.concatenate([members[number] for number in rng.integers(0, len(members), len(members))])


def roc(scores: Floats, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """False and true positive rates as the threshold falls, from (0, 0) to (1, 1). Needs pairs of both kinds."""
    values, which = np.unique(-scores, return_inverse=True)  # the highest scores first
    rates = []
    for counted in (~positive, positive):
        reached = np.bincount(which, counted, len(values)).cumsum()
        rates.append(np.concatenate([[0.0], reached / reached[-1]]))
    return rates[0], rates[1]


def reliability(probabilities: Floats, positive: NDArray[np.bool_], bins: int = 5) -> list[tuple[float, float, int]]:
    """(mean forecast, share that was positive, pairs) of each bin of equally many pairs, lowest first."""
    order = np.argsort(probabilities, kind="stable")
    return [
        (float(probabilities[part].mean()), float(positive[part].mean()), len(part))
        for part in np.array_split(order, bins)
        if len(part)
    ]
