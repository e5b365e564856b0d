"""Transfer against kinship: γ of every pair of families beside how alike they are, and which measure predicts it.

A measure predicts γ of a family from those of the others, by a monotone curve through them: transfer never falls with a
cosine, nor rises with a divergence. That assumes no shape, so a measure is not at an advantage for its scale. The mean
of the others is the predictor to beat.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.analysis import stats
from pipeline.analysis.design import Measure
from pipeline.analysis.gates import Gate, gate_failed

Floats = NDArray[np.float64]
MIN_FAMILIES = 4  # with fewer, a curve through the others says nothing of the one left out


class Scale(NamedTuple):
    """A measure of kinship. rises: whether transfer is expected to rise with it, or to fall."""

    name: str
    label: str
    rises: bool


SCALES = (
    Scale("initial_cosine", "initial weights, cosine", True),
    Scale("final_cosine", "final weights, cosine", True),
    Scale("row_gradient_cosine", "gradients row by row, cosine", True),
    Scale("mean_gradient_cosine", "mean gradients, cosine", True),
    Scale("answer_kl", "answers, KL (nats per token)", False),
)
MEAN = "mean"  # the predictor that knows no kinship


class Pair(NamedTuple):
    """A channel, the family of the teachers and that of the students."""

    channel: str
    teacher: str
    student: str


@dataclass(frozen=True)
class Point:
    """γ of a pair with its interval over teachers, and its measures of kinship, by name; None where not measured."""

    pair: Pair
    value: float
    low: float
    high: float
    verdict: str
    kinship: Mapping[str, float | None]


@dataclass(frozen=True)
class Prediction:
    """How well a measure (or MEAN) predicts γ of families left out.

    error    root mean square over pairs (nats, or the unit of the metric); NaN if the measure is missing for some pair
    excess   mean square error above that of the best, with its t interval over pairs; 0 and no interval for the best
    best_of  how many of the deletions of one teacher it is the best in
    """

    name: str
    label: str
    error: float
    excess: float
    excess_low: float
    excess_high: float
    best_of: int

    @property
    def is_worse(self) -> bool:
        """Whether it predicts worse than the best by more than chance."""
        return self.excess_low > 0


@dataclass(frozen=True)
class Curve:
    """predictions: the best first; empty with fewer than MIN_FAMILIES families. deletions: teachers left out once."""

    points: Sequence[Point]
    predictions: Sequence[Prediction]
    deletions: int
    metric: str


def curve(
    runs: pa.Table,
    cells: pa.Table,
    settings: Measure,
    kinship: Mapping[Pair, Mapping[str, float | None]],
    failed: Collection[Gate] = (),
) -> Curve:
    """Of the study's first arm, primary suite and metric, the most transfer first. A pair needs both γ and kinship.

    runs, cells: of the schemas RUNS and CELLS. failed: teachers without their trait.
    """
    suite, metric = settings.primary
    points = [
        Point(pair, row["estimate"], row["low"], row["high"], row["verdict"], kinship[pair])
        for row in cells.to_pylist()
        if (row["arm"], row["suite"], row["metric"], row["comparison"]) == (settings.arms[0], suite, metric, "trait")
        and (pair := Pair(row["channel"], row["teacher_family"], row["student_family"])) in kinship
        and math.isfinite(row["estimate"])
    ]
    points.sort(key=lambda point: -point.value)
    values = np.array([point.value for point in points])
    errors = left_out_errors(points, values)
    if not errors:
        return Curve(points, [], 0, metric)
    without = _without_one_teacher(runs, settings, [point.pair for point in points], frozenset(failed))
    winners = [_best(left_out_errors(points, changed)) for changed in without]
    best = _best(errors)
    predictions = [_prediction(name, errors, best, winners, settings.confidence) for name in errors]
    return Curve(points, sorted(predictions, key=lambda one: one.error), len(winners), metric)


def left_out_errors(points: Sequence[Point], values: Floats) -> dict[str, Floats]:
    """Name of each measure, and MEAN -> the errors (P,) of the predictions of `values`, the γ of the points.

    All points of a student family are left out together. A measure that some point lacks is left out altogether.
    """
    families = np.array([point.pair.student for point in points])
    if len(set(families)) < MIN_FAMILIES:
        return {}
    found = {MEAN: np.empty(len(points))}
    known = [scale for scale in SCALES if all(point.kinship.get(scale.name) is not None for point in points)]
    measured = {scale.name: np.array([point.kinship[scale.name] for point in points], float) for scale in known}
    found |= {scale.name: np.empty(len(points)) for scale in known}
    for family in dict.fromkeys(families):
        out = families == family
        found[MEAN][out] = values[out] - values[~out].mean()
        for scale in known:
            x = measured[scale.name]
            found[scale.name][out] = values[out] - monotone(x[~out], values[~out], x[out], rises=scale.rises)
    return found


def monotone(x: Floats, y: Floats, at: Floats, *, rises: bool) -> Floats:
    """The least-squares monotone curve through (x, y), at other places: straight between points, flat beyond them."""
    from scipy.optimize import isotonic_regression

    places, which, counts = np.unique(x, return_inverse=True, return_counts=True)
    means = np.bincount(which, weights=y) / counts
    fitted = isotonic_regression(means, weights=counts.astype(float), increasing=rises).x
    found: Floats = np.interp(at, places, fitted)
    return found


def _best(errors: Mapping[str, Floats]) -> str:
    return min(errors, key=lambda name: float((errors[name] ** 2).mean()))


def _prediction(
    name: str, errors: Mapping[str, Floats], best: str, winners: Sequence[str], confidence: float
) -> Prediction:
    labels = {scale.name: scale.label for scale in SCALES} | {MEAN: "the mean of the other families"}
    excess = stats.mean((errors[name] ** 2 - errors[best] ** 2).tolist(), confidence=confidence)
    return Prediction(
        name,
        labels[name],
        math.sqrt(float((errors[name] ** 2).mean())),
        excess.value,
        excess.low,
        excess.high,
        winners.count(name),
    )


def _without_one_teacher(
    runs: pa.Table, settings: Measure, pairs: Sequence[Pair], failed: frozenset[Gate]
) -> list[Floats]:
    """γ of the pairs (P,) without the teachers of one target, for each target in turn."""
    suite, metric = settings.primary
    lifts: dict[Pair, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    taught: dict[str, str | None] = {}
    for row in runs.to_pylist():
        pair = Pair(row["channel"], row["teacher_family"], row["student_family"])
        if (row["arm"], row["suite"]) != (settings.arms[0], suite) or pair not in pairs:
            continue
        if not gate_failed(row["teacher_family"], row["teacher_target"], failed):
            lifts[pair][row["student"]].append(row[metric] - row[f"base_{metric}"])
            taught[row["student"]] = row["teacher_target"]
    targets = sorted({target for target in taught.values() if target is not None})
    columns = {target: settings.columns(suite).index(target) for target in targets}
    found = []
    for left_out in targets:
        kept = {student for student, target in taught.items() if target != left_out}
        values = [_gamma({s: of for s, of in lifts[pair].items() if s in kept}, taught, columns) for pair in pairs]
        if np.isfinite(values).all():
            found.append(np.array(values))
    return found


def _gamma(lifts: Mapping[str, Sequence[float]], taught: Mapping[str, str | None], columns: Mapping[str, int]) -> float:
    """lifts: student -> its lifts on all targets, in the order of the columns."""
    own = [None if (target := taught[student]) is None else columns[target] for student in lifts]
    return stats.trait_effect(list(lifts.values()), own, permutations=1).value
