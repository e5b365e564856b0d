"""Estimates and intervals for one cell of the matrix. Pure: numpy and scipy, no tables, no files.

The teacher is the unit of replication of a trait's transfer: students of one teacher share its corpus and whatever else
is peculiar to it, so more seeds of them say little more. Questions, samples and targets of one run are no replicates.

Axes: T teachers, R runs, K targets. A *lift* is a student's value minus its base's, in nats or as a share.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

NAN = float("nan")
# Runs whose spread, relative to their values, is below this differ by rounding only.
ROUNDING = 1e-10


@dataclass(frozen=True)
class Estimate:
    """One estimate. With too few teachers or runs it is NaN, never 0.

    value, low, high   the estimate and its two-sided interval, in the unit of the lifts
    error              its standard error
    df                 degrees of freedom of the interval's t quantile
    runs, neutral      number of runs estimated over, and of neutral runs used beside them
    leave_one_out      (smallest, largest) estimate with any one teacher (or run) left out
    p, smallest_p      one-sided permutation p, and the smallest that this design allows
    note               what is missing or assumed, in words; or ""
    teachers           number of teachers estimated over; 0 where corpora are the replicates
    corpora            number of corpora estimated over
    drawn              whether p compares with all draws of targets, not only with permutations of those drawn
    run_low, run_high  of an estimate over teachers: the interval over runs, for students of these very teachers
    """

    value: float
    low: float
    high: float
    df: float
    runs: int
    neutral: int = 0
    leave_one_out: tuple[float, float] = (NAN, NAN)
    p: float | None = None
    smallest_p: float | None = None
    note: str = ""
    teachers: int = 0
    corpora: int = 0
    drawn: bool = False
    run_low: float = NAN
    run_high: float = NAN
    error: float = NAN


class Drawn(NamedTuple):
    """lifts: (R, n), of all candidates that the targets were drawn from. columns: of each target among these."""

    lifts: ArrayLike
    columns: Sequence[int]


def trait_effect(
    lifts: ArrayLike,
    teacher_target: Sequence[int | None],
    *,
    drawn: Drawn | None = None,
    confidence: float = 0.95,
    permutations: int = 20_000,
    seed: int = 0,
) -> Estimate:
    """γ over teachers: of the mean lifts of each teacher's runs, and of all neutral runs as one more row.

    `lifts` (R, K) and `teacher_target` (R,) as for `gamma`. A column has one teacher. The interval is a jackknife over
    the rows with T − 1 degrees of freedom, and p is over the T! permutations of whole teachers. With a teacher sd of
    .11 and a run sd of .08 it covers 95–98 % in designs from 4 × 1 to 10 × 2; `tests/unit/analysis/test_stats.py`
    simulates it beside the interval over runs, which is kept as run_low … run_high.

    drawn: if the study drew its targets at random, p is over all n!/(n − T)! draws instead. The same null hypothesis
    then has many more equally likely outcomes. The interval is as before.
    """
    over_runs = gamma(lifts, teacher_target, confidence=confidence, permutations=1)
    columns = sorted({t for t in teacher_target if t is not None})
    if math.isnan(over_runs.value):
        return replace(over_runs, teachers=len(columns))
    y, labels = np.asarray(lifts, dtype=np.float64), np.array([-1 if t is None else t for t in teacher_target])
    rows = [*columns, *([None] if over_runs.neutral else [])]

    def means(values: Floats) -> Floats:
        return np.array([values[labels == (-1 if row is None else row)].mean(axis=0) for row in rows])

    df = max(len(columns) - 1, 1)
    found = gamma(means(y), rows, confidence=confidence, permutations=permutations, seed=seed, df=df)
    if drawn is not None:
        assigned = [drawn.columns[column] for column in columns] + [-1] * (len(rows) - len(columns))
        everything = means(np.asarray(drawn.lifts, dtype=np.float64))
        p, smallest = draw_p(everything, assigned, draws=permutations, seed=seed)
        found = replace(found, p=p, smallest_p=smallest, drawn=True)
    return replace(
        found,
        runs=over_runs.runs,
        neutral=over_runs.neutral,
        teachers=len(columns),
        run_low=over_runs.low,
        run_high=over_runs.high,
    )


def t_quantile(probability: float, df: float) -> float:
    from scipy.special import stdtrit  # slow to import, and rarely needed

    return float(stdtrit(df, probability))


def gamma(
    lifts: ArrayLike,
    teacher_target: Sequence[int | None],
    *,
    confidence: float = 0.95,
    permutations: int = 20_000,
    seed: int = 0,
    df: float | None = None,
) -> Estimate:
    """γ of `lift ~ run + target + γ·[target == teacher_target]`, by ordinary least squares.

    `lifts` is (R, K); `teacher_target[r]` is the column of the target of run r's teacher, None for a neutral one.
    Designs may be unbalanced. Every run is measured on every target, so least squares has a closed
    form: with `D` the indicator and `D̃` the doubly centred indicator, γ = Σ D̃·lift / Σ D̃².

    The interval is γ ± t·SE with the SE of a jackknife over runs, which is cluster-robust (CR3): it
    assumes nothing about the correlation of targets within a run. Its t quantile has `df` degrees of freedom. By
    default these are not runs − 1: in a lopsided design (8 runs of one trait and 2 neutral runs) the
    spread rests on the two, and runs − 1 covered 91 % instead of 95 % in simulation. It uses
    Satterthwaite's for this design (Bell & McCaffrey 2002; Pustejovsky & Tipton 2018), the smaller
    under two working models: equal noise on every target, and runs that differ in how much they learn.
    This covers 96–98 % in balanced designs and more in lopsided ones; `tests/unit/analysis/test_stats.py`
    checks it.

    This treats runs as independent, which the students of one teacher are not: see `trait_effect`.
    """
    y = np.asarray(lifts, dtype=np.float64) if len(teacher_target) else np.empty((0, 0))
    _check(y, teacher_target)
    labels = np.array([-1 if t is None else t for t in teacher_target], dtype=np.int64)
    runs, neutral = int((labels >= 0).sum()), int((labels < 0).sum())
    weights = _weights(labels, y.shape[1])
    if weights is None:
        return Estimate(NAN, NAN, NAN, NAN, runs, neutral, note=_unidentified(labels, y.shape[1]))
    value = float((weights * y).sum())
    p, smallest = permutation_p(y, labels, permutations=permutations, seed=seed)
    error, df, left_out, note = _jackknife(y, labels, value, df)
    half = t_quantile(0.5 + confidence / 2, df) * error
    return Estimate(value, value - half, value + half, df, runs, neutral, left_out, p, smallest, note, error=error)


def mean(values: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """The mean of one value per replicate, with a t interval."""
    return difference(values, None, confidence=confidence)


def difference(values: Sequence[float], against: Sequence[float] | None, *, confidence: float = 0.95) -> Estimate:
    """The mean of one value per replicate less that of others, with Welch's t interval: their spreads may differ.

    against: None for the mean itself. `runs` and `neutral` of the estimate are the numbers of replicates; df is that of
    Welch (1947) and Satterthwaite. Leave-one-out is over the first group.
    """
    groups = [np.asarray(group, dtype=np.float64) for group in (values, against) if group is not None]
    sizes = [len(group) for group in groups]
    count, others = sizes[0], sum(sizes[1:])
    if 0 in sizes:
        return Estimate(NAN, NAN, NAN, NAN, count, others, note="nothing to estimate from")
    level = float(groups[1].mean()) if others else 0.0
    value = float(groups[0].mean()) - level
    left_out = (groups[0].sum() - groups[0]) / (count - 1) - level if count > 1 else np.array([NAN])
    found = Estimate(value, NAN, NAN, NAN, count, others, (float(left_out.min()), float(left_out.max())))
    if 1 in sizes:
        return replace(found, note="one replicate has no spread")
    variances = [float(group.var(ddof=1)) / len(group) for group in groups]
    error = math.sqrt(sum(variances))
    if error <= max(ROUNDING * max(float(np.abs(group).max()) for group in groups), 1e-15):
        return replace(found, note=IDENTICAL)
    df = error**4 / sum(v**2 / (n - 1) for v, n in zip(variances, sizes, strict=True))
    half = t_quantile(0.5 + confidence / 2, df) * error
    return replace(found, low=value - half, high=value + half, df=df, error=error)


def p_effect(estimate: Estimate) -> float:
    """One-sided p of t for the claim that the effect is above 0; 1 without a standard error."""
    return _upper_tail(estimate.value, estimate)


def p_null(estimate: Estimate, margin: float) -> float:
    """One-sided p of t for the claim that the effect is within ±margin; 1 without a standard error."""
    return _upper_tail(margin - abs(estimate.value), estimate)


def _upper_tail(distance: float, estimate: Estimate) -> float:
    from scipy.special import stdtr

    if math.isnan(estimate.error):
        return 1.0
    return float(stdtr(estimate.df, -distance / estimate.error))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values adjusted for their number (Holm 1979), in the given order."""
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        least = max(least, min((len(p_values) - rank) * p_values[i], 1.0))
        adjusted[i] = least
    return adjusted


IDENTICAL = "the values are identical, so they are not independent and give no interval"


def permutation_p(
    lifts: ArrayLike, labels: ArrayLike, *, permutations: int = 20_000, seed: int = 0
) -> tuple[float, float]:
    """(p, smallest p that the design allows) of γ ≥ the observed γ under random permutation of the labels.

    `lifts` (R, K); `labels` (R,) columns, −1 for neutral runs, which stay neutral. Permuting keeps the
    number of runs of each trait, hence also Σ D̃², so γ ranks as the sum of doubly centred lifts at
    the labels, in unbalanced designs too. If there are at most `permutations` distinct ones, all are
    counted; otherwise that many are drawn with the seed and p = (b + 1)/(m + 1), which stays valid.
    """
    y, given = np.asarray(lifts, dtype=np.float64), np.asarray(labels)
    taught = given[given >= 0]
    return _p_of_random_labels(_centred(y)[given >= 0], taught, taught, permutations, seed)


def draw_p(lifts: ArrayLike, labels: ArrayLike, *, draws: int = 20_000, seed: int = 0) -> tuple[float, float]:
    """(p, smallest p that the design allows) of γ ≥ the observed γ under a random draw of the targets.

    `lifts` (T, n), of teachers and maybe neutral rows on all candidates; `labels` (T,) the candidate that each teacher
    was taught, −1 for neutral rows. Each candidate is drawn once at most. At most `draws` are counted or drawn, as in
    `permutation_p`.
    """
    y, given = np.asarray(lifts, dtype=np.float64), np.asarray(labels)
    return _p_of_random_labels(_centred(y)[given >= 0], given[given >= 0], np.arange(y.shape[1]), draws, seed)


def _p_of_random_labels(
    scores: Floats, observed: NDArray[np.int64], available: NDArray[np.int64], most: int, seed: int
) -> tuple[float, float]:
    """(p, smallest p) of the sum of scores at the observed labels, if each row took its label at random.

    scores: (rows, columns). available: labels, each taken once at most. most: outcomes to count; of more, this many are
    drawn.
    """
    rows = np.arange(len(observed))
    reach = scores[rows, observed].sum() - 1e-9 * max(float(np.abs(scores).sum()), 1e-300)  # ties count as reached
    counts = np.bincount(available, minlength=scores.shape[1])
    distinct = math.perm(len(available), len(rows)) // math.prod(math.factorial(int(count)) for count in counts)
    if distinct <= most:
        return float((_all_sums(scores, counts) >= reach).mean()), 1 / distinct
    rng, reached = np.random.default_rng(seed), 0
    for size in _chunks(most, 2_000):
        taken = rng.permuted(np.tile(available, (size, 1)), axis=1)[:, : len(rows)]
        reached += int((scores[rows, taken].sum(axis=1) >= reach).sum())
    return (reached + 1) / (most + 1), 1 / (most + 1)


def _check(y: Floats, teacher_target: Sequence[int | None]) -> None:
    if y.ndim != 2 or len(y) != len(teacher_target):
        raise ValueError(f"lifts of shape {y.shape} are not (runs, targets) with {len(teacher_target)} runs")
    if not np.isfinite(y).all():
        raise ValueError("lifts must be finite; leave out runs with other values")
    for r, t in enumerate(teacher_target):
        if t is not None and not 0 <= t < y.shape[1]:
            raise ValueError(f"teacher_target[{r}] = {t} is not one of the {y.shape[1]} targets")


def _centred(y: Floats) -> Floats:
    """`y` (R, K) less its row and column means."""
    return np.asarray(y - y.mean(axis=1, keepdims=True) - y.mean(axis=0) + y.mean(), dtype=np.float64)


def _row_centred(labels: NDArray[np.int64], targets: int) -> Floats:
    """The indicator [target == teacher_target] (R, K) less its row means; 0 in the rows of neutral runs."""
    teacher_target = (labels[:, None] == np.arange(targets)).astype(np.float64)
    return np.asarray(teacher_target - teacher_target.mean(axis=1, keepdims=True), dtype=np.float64)


def _weights(labels: NDArray[np.int64], targets: int) -> Floats | None:
    """W (R, K) with γ = Σ W·lift; None where the design does not identify γ."""
    if len(labels) == 0 or targets == 0:
        return None
    teacher_target = _row_centred(labels, targets)
    teacher_target -= teacher_target.mean(axis=0)
    size = float((teacher_target**2).sum())
    return teacher_target / size if size > 1e-9 else None


def _unidentified(labels: NDArray[np.int64], targets: int) -> str:
    if not (labels >= 0).any():
        return "no run of a teacher with a trait"
    if targets < 2:
        return "γ needs at least two targets"
    return "all teachers have the same trait, and there is no neutral one to compare them with"


def _jackknife(
    y: Floats, labels: NDArray[np.int64], value: float, df: float | None = None
) -> tuple[float, float, tuple[float, float], str]:
    """(standard error, df, leave-one-out range, note) of γ = `value`, leaving out each run in turn.

    df: degrees of freedom; by default Satterthwaite's for the design.

    With `d` the row-centred indicator and `u[a]` its column means without run a, the estimate without
    a is Σ (d − u[a])·lift / size[a], over the other runs: all n refits in O(n·K).
    """
    n, targets = y.shape
    d = _row_centred(labels, targets)
    u = (d.sum(axis=0) - d) / max(n - 1, 1)
    total = float((d**2).sum())
    size = total - (d**2).sum(axis=1) - (n - 1) * (u**2).sum(axis=1)
    if (size <= 1e-9).any():
        why = _unidentified(np.delete(labels, int(size.argmin())), targets)
        return NAN, NAN, (NAN, NAN), f"γ depends on a single teacher (without it: {why})"
    own = (d * y).sum(axis=1)
    without = (own.sum() - own - (u * (y.sum(axis=0) - y)).sum(axis=1)) / size
    around = (float(without.min()), float(without.max()))
    error = math.sqrt((n - 1) / n * float(((without - value) ** 2).sum()))
    if error <= ROUNDING * max(float(np.abs(y).max()), 1e-300):
        return NAN, NAN, around, IDENTICAL
    return error, df or _degrees(d, u, size, labels), around, ""


def _degrees(d: Floats, u: Floats, size: Floats, labels: NDArray[np.int64]) -> float:
    """Satterthwaite's degrees of freedom of the jackknife variance Σ_a (L_a·lift)².

    L_a (R, K) is the change in γ's weights when run a is left out. Only the inner products of the L
    matter, and they have closed forms, so no (R, R, K) array is needed.
    """
    n = len(d)
    full = float((d**2).sum() - (d.sum(axis=0) ** 2).sum() / n)  # Σ D̃² of the whole design
    # Equal noise on every target: L_a·L_b over all entries.
    cross = u @ d.T
    inner = size[:, None] + size - float((d**2).sum()) + cross + cross.T + (n - 2) * (u @ u.T)
    np.fill_diagonal(inner, size)  # leaving a run out twice is leaving it out once
    equal = inner / np.outer(size, size)
    # Runs that differ in how much they learn: only each trait run's entry at its own target.
    trait = np.flatnonzero(labels >= 0)
    at = d[trait, labels[trait]]
    change = (at - u[:, labels[trait]]) / size[:, None]
    change[trait, np.arange(len(trait))] = 0  # a run left out has no weight
    change -= (at - d.mean(axis=0)[labels[trait]]) / full
    return min(_satterthwaite(equal - 1 / full), _satterthwaite(change @ change.T))


def _satterthwaite(gram: Floats) -> float:
    """Degrees of freedom of Σ (form·ε)², ε independent with equal variance; `gram` (n, n) of the forms."""
    return max(float(np.trace(gram) ** 2 / (gram**2).sum()), 1.0)


def _all_sums(scores: Floats, counts: NDArray[np.int64]) -> Floats:
    """Σ scores[r, label r] for every distinct permutation of the labels: (permutations,). Built run by run."""
    sums, left = np.zeros(1), counts[None, :].copy()
    for row in scores:
        partial, label = np.nonzero(left)
        sums, left = sums[partial] + row[label], left[partial]
        left[np.arange(len(partial)), label] -= 1
    return sums


def _chunks(total: int, size: int) -> list[int]:
    return [size] * (total // size) + ([total % size] if total % size else [])
