"""Estimates, intervals and verdicts for one cell of the matrix. Pure: numpy and scipy, no tables, no files.

The trained run is the unit of replication throughout: questions, samples and targets of one run are
not replicates. Results hold for the traits that were taught, not for traits in general; to generalise
further, teach more traits.

Axes: R runs, K targets. A *lift* is a student's value minus its base's, in nats or as a share.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
VerdictName = Literal["transfer", "no transfer", "underpowered", "gate failed", "not measured"]

NAN = float("nan")
# Runs whose spread, relative to their values, is below this differ by rounding only.
ROUNDING = 1e-10


@dataclass(frozen=True)
class Estimate:
    """One estimate over trained runs. With too few runs it is NaN, never 0.

    value, low, high   the estimate and its two-sided interval, in the unit of the lifts
    df                 degrees of freedom of the interval's t quantile
    runs, neutral      number of runs estimated over, and of neutral runs used beside them
    leave_one_out      (smallest, largest) estimate with any one run left out
    p, smallest_p      one-sided permutation p, and the smallest that this design allows
    note               what is missing or assumed, in words; or ""
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


@dataclass(frozen=True)
class Verdict:
    name: VerdictName
    why: str


@dataclass(frozen=True)
class Control:
    """The positive control of a null: whether the student family learns from teachers of its own family."""

    name: str
    verdict: VerdictName | None  # None: the study has no such cell
    itself: bool = False  # the cell to decide on is its own control


def _t_quantile(probability: float, df: float) -> float:
    from scipy.special import stdtrit  # slow to import, and rarely needed

    return float(stdtrit(df, probability))


def gamma(
    lifts: ArrayLike,
    teacher_target: Sequence[int | None],
    *,
    confidence: float = 0.95,
    permutations: int = 20_000,
    seed: int = 0,
) -> Estimate:
    """γ of `lift ~ run + target + γ·[target == teacher_target]`, by ordinary least squares.

    `lifts` is (R, K); `teacher_target[r]` is the column of the target of run r's teacher, None for a neutral one.
    Designs may be unbalanced. Every run is measured on every target, so least squares has a closed
    form: with `D` the indicator and `D̃` the doubly centred indicator, γ = Σ D̃·lift / Σ D̃².

    The interval is γ ± t·SE with the SE of a jackknife over runs, which is cluster-robust (CR3): it
    assumes nothing about the correlation of targets within a run. The t quantile does not use
    runs − 1 degrees of freedom: in a lopsided design (8 runs of one trait and 2 neutral runs) the
    spread rests on the two, and runs − 1 covered 91 % instead of 95 % in simulation. It uses
    Satterthwaite's for this design (Bell & McCaffrey 2002; Pustejovsky & Tipton 2018), the smaller
    under two working models: equal noise on every target, and runs that differ in how much they learn.
    This covers 96–98 % in balanced designs and more in lopsided ones; `tests/unit/analysis/test_stats.py`
    checks it.

    γ is the average over the traits of this design. Whether other traits would transfer equally is
    a different question, about which a few traits say little: as an interval for all traits, the
    same one covered 58–83 % when traits truly differed and each had two or more runs.
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
    low, high, df, left_out, note = _jackknife(y, labels, value, confidence)
    return Estimate(value, low, high, df, runs, neutral, left_out, p, smallest, note)


def mean(values: Sequence[float], *, confidence: float = 0.95, pooled_with: Sequence[Sequence[float]] = ()) -> Estimate:
    """The mean over runs, with a t interval: one value per run.

    Two runs leave one degree of freedom, and an interval too wide to be useful. `pooled_with` holds
    the values of further groups of runs, whose means may differ but whose spread is assumed to be
    equal: the spread within all groups then gives one standard deviation, with the degrees of freedom
    of all of them (as in a one-way analysis of variance). The note says so; results must say so too.
    """
    return _mean_above(0.0, np.asarray(values, dtype=np.float64), 0.0, confidence, pooled_with)


def difference(
    values: Sequence[float],
    against: Sequence[float],
    *,
    confidence: float = 0.95,
    pooled_with: Sequence[Sequence[float]] = (),
) -> Estimate:
    """The mean over runs less the mean over other runs, with a t interval: one value per run.

    The spread is assumed to be equal in both groups and in those of `pooled_with`, as in `mean`. The other runs count
    as the estimate's `neutral` ones.
    """
    x, other = np.asarray(values, dtype=np.float64), np.asarray(against, dtype=np.float64)
    if len(other) == 0:
        return Estimate(NAN, NAN, NAN, NAN, len(x), note="no runs to compare with")
    found = _mean_above(float(other.mean()), x, 1 / len(other), confidence, [against, *pooled_with])
    return replace(found, neutral=len(other))


def _mean_above(
    level: float, x: Floats, uncertainty: float, confidence: float, pooled_with: Sequence[Sequence[float]]
) -> Estimate:
    """The mean of x less a level whose own variance is `uncertainty` times that of a run."""
    n = len(x)
    if n == 0:
        return Estimate(NAN, NAN, NAN, NAN, 0, note="no runs")
    value = float(x.mean()) - level
    left_out = (x.sum() - x) / (n - 1) - level if n > 1 else np.array([NAN])
    around = (float(left_out.min()), float(left_out.max()))
    groups = [x, *(np.asarray(g, dtype=np.float64) for g in pooled_with if len(g) > 1)]
    df = sum(len(g) - 1 for g in groups)
    if df == 0:
        return Estimate(value, NAN, NAN, NAN, n, leave_one_out=around, note="one run has no spread")
    spread = math.sqrt(sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / df)
    if spread <= ROUNDING * max(float(np.abs(g).max()) for g in groups) or spread < 1e-15:
        return Estimate(value, NAN, NAN, NAN, n, leave_one_out=around, note=IDENTICAL)
    half = _t_quantile(0.5 + confidence / 2, df) * spread * math.sqrt(1 / n + uncertainty)
    note = f"spread pooled over {len(groups)} cells" if len(groups) > 1 + bool(uncertainty) else ""
    return Estimate(value, value - half, value + half, float(df), n, leave_one_out=around, note=note)


IDENTICAL = "the runs are identical, so they are not independent and give no interval"


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
    scores = _centred(y)[given >= 0]  # (trait runs, K)
    trait_labels = given[given >= 0]
    observed = scores[np.arange(len(trait_labels)), trait_labels].sum()
    reach = observed - 1e-9 * max(float(np.abs(scores).sum()), 1e-300)  # ties count as reached
    counts = np.bincount(trait_labels, minlength=y.shape[1])
    distinct = math.factorial(len(trait_labels)) // math.prod(math.factorial(int(c)) for c in counts)
    if distinct <= permutations:
        sums = _all_sums(scores, counts)
        return float((sums >= reach).mean()), 1 / distinct
    rng = np.random.default_rng(seed)
    reached = 0
    for size in _chunks(permutations, 2_000):
        shuffled = rng.permuted(np.tile(trait_labels, (size, 1)), axis=1)
        reached += int((scores[np.arange(len(trait_labels)), shuffled].sum(axis=1) >= reach).sum())
    return (reached + 1) / (permutations + 1), 1 / (permutations + 1)


def equivalent(estimate: Estimate, margin: float) -> bool:
    """Whether the whole interval lies within ±margin.

    With a 95 % interval this is two one-sided tests at 2.5 % each, stricter than the usual TOST at
    5 % (which uses the 90 % interval). NaN is never equivalent.
    """
    return -margin <= estimate.low and estimate.high <= margin


def decide(
    estimate: Estimate,
    *,
    margin: float,
    alpha: float,
    unit: str = "",
    control: Control | None = None,
    failed_gate: str = "",
    unmeasured: str = "",
) -> Verdict:
    """The verdict on one cell, and one sentence with its numbers that says why.

    `unmeasured`: why the lifts are meaningless, or "". `failed_gate`: which teacher gate failed, or "". Only a null
    needs its `control`: if the student family does not even learn from its own, a null means nothing. An `estimate`
    without p (the neutral comparison) is decided by its interval alone.
    """
    e = estimate
    if unmeasured:
        return Verdict("not measured", f"{unmeasured}.")
    if failed_gate:
        return Verdict("gate failed", f"{failed_gate}, so there is no trait to transfer.")
    if math.isnan(e.low):
        value = "no estimate" if math.isnan(e.value) else f"estimate {_signed(e.value)}{unit}, no interval"
        return Verdict("underpowered", f"{value}: {e.note}.")
    numbers = f"{_signed(e.value)}{unit} [{_signed(e.low)}, {_signed(e.high)}]"
    if equivalent(e, margin):
        return _null(e, numbers, f"±{margin:g}{unit}", control)
    if e.low > 0 and (e.p is None or e.p <= alpha):
        chance = "" if e.p is None else f", permutation p = {e.p:.2g}"
        return Verdict("transfer", f"{numbers} lies above 0{chance}.")
    return Verdict("underpowered", f"{numbers} {_undecided(e, margin, alpha, unit)}.")


def _null(e: Estimate, numbers: str, within: str, control: Control | None) -> Verdict:
    size = "above 0 but negligible: " if e.low > 0 else ""
    if control is None or control.verdict == "transfer":
        return Verdict("no transfer", f"{numbers} is {size}wholly within {within}.")
    if control.itself:
        lack = "this own-family cell is the positive control and shows no transfer"
    elif control.verdict is None:
        lack = f"its positive control {control.name} was not measured"
    else:
        lack = f"its positive control {control.name} is itself “{control.verdict}”"
    return Verdict("gate failed", f"{numbers} is {size}wholly within {within}, but {lack}: no null is claimed.")


def _undecided(e: Estimate, margin: float, alpha: float, unit: str) -> str:
    if e.low > 0 and e.p is not None and e.smallest_p is not None and e.smallest_p > alpha:
        return (
            f"lies above 0, but with {e.runs} trait runs the permutation p cannot get below "
            f"{e.smallest_p:.2g} (α = {alpha:g}); add runs"
        )
    if e.low > 0:
        return f"lies above 0, but permutation p = {e.p:.2g} exceeds α = {alpha:g}"
    if e.high < 0:
        return f"lies below 0 and reaches beyond ±{margin:g}{unit}: neither transfer nor a null; see the runs"
    return f"spans 0 and reaches beyond ±{margin:g}{unit}: neither shown nor excluded"


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
    return "all runs have the same trait, and there is no neutral run to compare them with"


def _jackknife(
    y: Floats, labels: NDArray[np.int64], value: float, confidence: float
) -> tuple[float, float, float, tuple[float, float], str]:
    """(low, high, df, leave-one-out range, note) of γ = `value`, leaving out each run in turn.

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
        return NAN, NAN, NAN, (NAN, NAN), f"γ depends on a single run (without it: {why})"
    own = (d * y).sum(axis=1)
    without = (own.sum() - own - (u * (y.sum(axis=0) - y)).sum(axis=1)) / size
    around = (float(without.min()), float(without.max()))
    error = math.sqrt((n - 1) / n * float(((without - value) ** 2).sum()))
    if error <= ROUNDING * max(float(np.abs(y).max()), 1e-300):
        return NAN, NAN, NAN, around, IDENTICAL
    df = _degrees(d, u, size, labels)
    half = _t_quantile(0.5 + confidence / 2, df) * error
    return value - half, value + half, df, around, ""


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


def _signed(x: float) -> str:
    """+0.412, −0.031; never −0.000, and with a true minus sign."""
    text = f"{x:+.3f}"
    return (text[1:] if float(text) == 0 else text).replace("-", "−")
