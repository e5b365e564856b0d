"""What a cell of the matrix says, and how surely. Pure: numpy and scipy, no tables, no files.

The trained run is the unit of replication throughout: questions, samples and targets of one run are
not replicates. A statement is about the traits that were taught, not about traits at large; to say
more, teach more traits.

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
# Runs whose spread is below this share of their size differ by rounding only.
ROUNDING = 1e-10


@dataclass(frozen=True)
class Estimate:
    """One estimate over trained runs. NaN where there is none: never 0 for want of runs.

    value, low, high   the estimate and its two-sided interval, in the unit of the lifts
    df                 degrees of freedom of the t quantile of the interval
    runs, neutral      runs that carry the estimate, and neutral runs that steady it
    leave_one_out      (smallest, largest) estimate with any one run left out
    p, smallest_p      one-sided permutation p, and the smallest that this design could have given
    note               what is missing or was assumed, in words; "" where nothing is
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
    """The positive control of a null: does the student family take over from a teacher of its own?"""

    name: str
    verdict: VerdictName | None  # None: the study has no such cell
    itself: bool = False  # the cell under judgement is the control


def _t_quantile(probability: float, df: float) -> float:
    from scipy.special import stdtrit  # slow to import, and most processes that import this module need none

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

    `lifts` is (R, K); `teacher_target[r]` is the column that the teacher of run r had, None for a neutral one.
    Designs may be unbalanced. Every run is measured on every target, so least squares has a closed
    form: with `D` the indicator and `D̃` its doubly centred form, γ = Σ D̃·lift / Σ D̃².

    The interval is γ ± t·SE with the SE of a jackknife over runs, which is cluster-robust (CR3): it
    assumes nothing about how the targets of one run hang together. The t quantile does not take
    runs − 1 degrees of freedom: where the evidence is lopsided (8 runs of one trait against 2 neutral
    runs) the spread rests on the two, and runs − 1 covered 91 % instead of 95 % in simulation. It takes
    Satterthwaite's for this very design (Bell & McCaffrey 2002; Pustejovsky & Tipton 2018), the smaller
    of two working models: noise alike on every target, and runs that differ in how much they take over.
    That covers 96–98 % in balanced designs and more in lopsided ones; `tests/unit/analysis/test_stats.py`
    holds it to that.

    γ is the average over the traits of this design. Whether further traits would pass over alike is
    another question, on which a few traits have little to say: as a statement about all traits, the
    same interval covered 58–83 % when traits truly differed and each had two or more runs.
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
    """The mean over runs, with a t interval: one value a run.

    Two runs leave one degree of freedom, and an interval too wide to say anything. `pooled_with` are
    the values of further groups of runs, whose means may differ but whose spread is taken to be the
    same: the spread within all groups then gives one standard deviation, with the degrees of freedom
    of all of them (as in a one-way analysis of variance). Say so wherever it is used; the note does.
    """
    return _mean_above(0.0, np.asarray(values, dtype=np.float64), 0.0, confidence, pooled_with)


def difference(
    values: Sequence[float],
    against: Sequence[float],
    *,
    confidence: float = 0.95,
    pooled_with: Sequence[Sequence[float]] = (),
) -> Estimate:
    """The mean over runs above the mean of other runs, with a t interval: one value a run.

    The spread is taken to be the same in both groups, and in those of `pooled_with`, as in `mean`. The other runs are
    the estimate's `neutral` ones.
    """
    x, other = np.asarray(values, dtype=np.float64), np.asarray(against, dtype=np.float64)
    if len(other) == 0:
        return Estimate(NAN, NAN, NAN, NAN, len(x), note="no runs to compare with")
    found = _mean_above(float(other.mean()), x, 1 / len(other), confidence, [against, *pooled_with])
    return replace(found, neutral=len(other))


def _mean_above(
    level: float, x: Floats, uncertainty: float, confidence: float, pooled_with: Sequence[Sequence[float]]
) -> Estimate:
    """The mean of x above a level, which itself has the variance of a run times `uncertainty`."""
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


IDENTICAL = "the runs do not differ at all, so they are not independent and give no interval"


def permutation_p(
    lifts: ArrayLike, labels: ArrayLike, *, permutations: int = 20_000, seed: int = 0
) -> tuple[float, float]:
    """(p, smallest p that the design allows) of γ ≥ the observed γ when labels are dealt at random.

    `lifts` (R, K); `labels` (R,) columns, −1 for neutral runs, which stay neutral. Dealing keeps the
    number of runs of each trait, hence also Σ D̃², so γ ranks as the sum of doubly centred lifts at
    the labels, in unbalanced designs too. All distinct deals are counted when there are at most
    `permutations`; otherwise as many seeded ones are drawn and p = (b + 1)/(m + 1), which stays valid.
    """
    y, given = np.asarray(lifts, dtype=np.float64), np.asarray(labels)
    scores = _centred(y)[given >= 0]  # (trait runs, K)
    dealt = given[given >= 0]
    observed = scores[np.arange(len(dealt)), dealt].sum()
    reach = observed - 1e-9 * max(float(np.abs(scores).sum()), 1e-300)  # ties count as reached
    counts = np.bincount(dealt, minlength=y.shape[1])
    deals = math.factorial(len(dealt)) // math.prod(math.factorial(int(c)) for c in counts)
    if deals <= permutations:
        sums = _all_sums(scores, counts)
        return float((sums >= reach).mean()), 1 / deals
    rng = np.random.default_rng(seed)
    reached = 0
    for size in _chunks(permutations, 2_000):
        shuffled = rng.permuted(np.tile(dealt, (size, 1)), axis=1)
        reached += int((scores[np.arange(len(dealt)), shuffled].sum(axis=1) >= reach).sum())
    return (reached + 1) / (permutations + 1), 1 / (permutations + 1)


def equivalent(estimate: Estimate, margin: float) -> bool:
    """Whether the whole interval lies within ±margin.

    With a 95 % interval this is two one-sided tests at 2.5 % each, stricter than the usual TOST at
    5 % (which asks it of the 90 % interval). NaN is never equivalent.
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
    """The verdict on one cell and, in one sentence with its numbers, why.

    `unmeasured` says why the lifts measure nothing ("" where they do), `failed_gate` which teacher gate failed ("" for
    none). `control` is asked only of a null: a null where the student family does not even learn from its own kind says
    nothing. An `estimate` without p (the neutral comparison) is judged by its interval alone.
    """
    e = estimate
    if unmeasured:
        return Verdict("not measured", f"{unmeasured}.")
    if failed_gate:
        return Verdict("gate failed", f"{failed_gate}, so there is no trait to pass on.")
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
        raise ValueError("lifts must be finite; leave out the runs that have none")
    for r, t in enumerate(teacher_target):
        if t is not None and not 0 <= t < y.shape[1]:
            raise ValueError(f"teacher_target[{r}] = {t} is not one of the {y.shape[1]} targets")


def _centred(y: Floats) -> Floats:
    """`y` (R, K) less its row and column means."""
    return np.asarray(y - y.mean(axis=1, keepdims=True) - y.mean(axis=0) + y.mean(), dtype=np.float64)


def _row_centred(labels: NDArray[np.int64], targets: int) -> Floats:
    """The indicator [target == teacher_target] (R, K) less its row means; a neutral run has a row of 0."""
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
    return "all runs were taught the same trait and there is no neutral run to compare them with"


def _jackknife(
    y: Floats, labels: NDArray[np.int64], value: float, confidence: float
) -> tuple[float, float, float, tuple[float, float], str]:
    """(low, high, df, leave-one-out range, note) of γ = `value`, each run left out in turn.

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
        return NAN, NAN, NAN, (NAN, NAN), f"γ hangs on a single run (without it: {why})"
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

    L_a (R, K) is the change of γ's weights when run a is left out. Only the inner products of the L
    matter, and they have closed forms, so that no (R, R, K) array is made.
    """
    n = len(d)
    full = float((d**2).sum() - (d.sum(axis=0) ** 2).sum() / n)  # Σ D̃² of the whole design
    # Noise alike on every target: L_a·L_b over all entries.
    cross = u @ d.T
    inner = size[:, None] + size - float((d**2).sum()) + cross + cross.T + (n - 2) * (u @ u.T)
    np.fill_diagonal(inner, size)  # a run left out twice is left out once
    alike = inner / np.outer(size, size)
    # Runs that differ in how much they take over: only each trait run's entry at its own target.
    trait = np.flatnonzero(labels >= 0)
    at = d[trait, labels[trait]]
    change = (at - u[:, labels[trait]]) / size[:, None]
    change[trait, np.arange(len(trait))] = 0  # a run left out has no weight
    change -= (at - d.mean(axis=0)[labels[trait]]) / full
    return min(_satterthwaite(alike - 1 / full), _satterthwaite(change @ change.T))


def _satterthwaite(gram: Floats) -> float:
    """Degrees of freedom of Σ (form·ε)², ε independent and alike; `gram` (n, n) of the forms."""
    return max(float(np.trace(gram) ** 2 / (gram**2).sum()), 1.0)


def _all_sums(scores: Floats, counts: NDArray[np.int64]) -> Floats:
    """Σ scores[r, label r] over every distinct deal of the labels: (deals,). Grown run by run."""
    sums, left = np.zeros(1), counts[None, :].copy()
    for row in scores:
        deal, label = np.nonzero(left)
        sums, left = sums[deal] + row[label], left[deal]
        left[np.arange(len(deal)), label] -= 1
    return sums


def _chunks(total: int, size: int) -> list[int]:
    return [size] * (total // size) + ([total % size] if total % size else [])


def _signed(x: float) -> str:
    """+0.412, −0.031; never −0.000, and with a real minus sign."""
    text = f"{x:+.3f}"
    return (text[1:] if float(text) == 0 else text).replace("-", "−")
