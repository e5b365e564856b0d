"""Verdicts on estimates, each with one sentence of numbers that says why."""

import math
from dataclasses import dataclass
from typing import Literal

from pipeline.analysis.stats import Estimate

VerdictName = Literal["transfer", "no transfer", "underpowered", "gate failed", "not measured"]
MIN_TEACHERS = 4  # for a verdict: three have 6 permutations, so that no p is below .17


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

    `unmeasured`: why the lifts are meaningless, or "". `failed_gate`: which teacher gate failed, or "". Fewer than
    MIN_TEACHERS teachers decide nothing. A small effect of traits that is shown is no null; of neutral runs or of a
    rate it is one. Only a null needs its `control`: if the student family does not even learn from its own, a null
    means nothing. An `estimate` without p (the neutral comparison) is decided by its interval alone.
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
    if 0 < e.teachers < MIN_TEACHERS:
        return Verdict("underpowered", f"{numbers} rests on {_few_teachers(e.teachers)}.")
    if e.low > 0 and (e.p is None or e.p <= alpha) and (e.teachers or not equivalent(e, margin)):
        chance = "" if e.p is None else f", permutation p = {e.p:.2g}"
        return Verdict("transfer", f"{numbers} lies above 0{chance}.")
    if equivalent(e, margin):
        return _null(e, numbers, f"±{margin:g}{unit}", control)
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


def _few_teachers(teachers: int) -> str:
    deals = math.factorial(teachers)
    return (
        f"{teachers} teacher{'s' if teachers > 1 else ''}, whose targets have {deals} "
        f"permutation{'s' if deals > 1 else ''}; teach at least {MIN_TEACHERS} targets"
    )


def _undecided(e: Estimate, margin: float, alpha: float, unit: str) -> str:
    if e.low > 0 and e.p is not None and e.smallest_p is not None and e.smallest_p > alpha:
        return (
            f"lies above 0, but with {e.teachers} teachers the permutation p cannot get below "
            f"{e.smallest_p:.2g} (α = {alpha:g}); teach more targets"
        )
    if e.low > 0:
        return f"lies above 0, but permutation p = {e.p:.2g} exceeds α = {alpha:g}"
    if e.high < 0:
        return f"lies below 0 and reaches beyond ±{margin:g}{unit}: neither transfer nor a null; see the runs"
    return f"spans 0 and reaches beyond ±{margin:g}{unit}: neither shown nor excluded"


def _signed(x: float) -> str:
    """+0.412, −0.031; never −0.000, and with a true minus sign."""
    text = f"{x:+.3f}"
    return (text[1:] if float(text) == 0 else text).replace("-", "−")
