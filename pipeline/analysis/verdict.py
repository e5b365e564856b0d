"""Verdicts on estimates, each with one sentence of numbers that says why."""

import math
from dataclasses import dataclass
from typing import Literal

from pipeline.analysis.stats import Estimate

VerdictName = Literal[
    "transfer", "no transfer", "underpowered", "gate failed", "not measured", "clean", "moved", "undecided"
]
MIN_TEACHERS = 4  # for a verdict: three have 6 permutations, so that no p is below .17
MIN_DRAWN_TEACHERS = 3  # if the study drew their targets: of 19 candidates there are 5,814 draws
MIN_CORPORA = 3  # for a verdict on neutral teachers, and on each side of a rate: two leave one degree of freedom


@dataclass(frozen=True)
class Verdict:
    name: VerdictName
    why: str


@dataclass(frozen=True)
class Control:
    """The positive control of a null: whether the student family learns from teachers of its own family.

    low: lower bound of its effect.
    """

    name: str
    verdict: VerdictName | None  # None: the study has no such cell
    low: float = math.nan
    itself: bool = False  # the cell to decide on is its own control


@dataclass(frozen=True)
class Adjusted:
    """One-sided p values of a primary comparison, after Holm's correction over all of them. cells: their number."""

    effect: float
    null: float
    cells: int


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
    adjusted: Adjusted | None = None,
    failed_gate: str = "",
    unmeasured: str = "",
    too_few: str = "",
) -> Verdict:
    """The verdict on one comparison, and one sentence with its numbers that says why.

    `unmeasured`: why the lifts are meaningless, or "". `failed_gate`: which teacher gate failed, or "". `too_few`: what
    an estimate that is not over teachers lacks. Fewer than MIN_TEACHERS teachers (MIN_DRAWN_TEACHERS, if the study drew
    their targets) decide nothing. An effect that is shown is no null, however small. Only a null needs its `control`:
    if the student family does not even learn from its own, a null means nothing. A primary comparison must hold after
    Holm's correction.
    """
    e = estimate
    if unmeasured:
        return Verdict("not measured", f"{unmeasured}.")
    if failed_gate:
        return Verdict("gate failed", f"{failed_gate}, so there is no trait to transfer.")
    if too_few or math.isnan(e.low):
        value = "no estimate" if math.isnan(e.value) else f"estimate {_signed(e.value)}{unit}"
        return Verdict("underpowered", f"{value}, no verdict: {too_few or e.note}.")
    numbers = _numbers(e, unit)
    if 0 < e.teachers < (MIN_DRAWN_TEACHERS if e.drawn else MIN_TEACHERS):
        return Verdict("underpowered", f"{numbers} rests on {_few_teachers(e.teachers)}.")
    within = f"wholly within ±{margin:.3g}{unit}"
    if e.low > 0 and (e.p is None or e.p <= alpha):
        if adjusted and adjusted.effect > alpha / 2:
            return _not_after_holm(f"{numbers} lies above 0", adjusted.effect, adjusted.cells, alpha)
        chance = "" if e.p is None else f", {_kind(e)} p = {e.p:.2g}"
        return Verdict("transfer", f"{numbers} lies above 0{chance}.")
    if equivalent(e, margin):
        if adjusted and adjusted.null > alpha / 2:
            return _not_after_holm(f"{numbers} is {within}", adjusted.null, adjusted.cells, alpha)
        return _null(e, numbers, within, control)
    return Verdict("underpowered", f"{numbers} {_undecided(e, margin, alpha, unit)}.")


def decide_neutral(estimate: Estimate, *, margin: float, unit: str = "", unmeasured: str = "") -> Verdict:
    """Whether a neutral teacher left its students where they were: *clean*, *moved* or *undecided*."""
    e = estimate
    if unmeasured:
        return Verdict("not measured", f"{unmeasured}.")
    if math.isnan(e.value):
        return Verdict("undecided", f"no estimate: {e.note}.")
    if e.corpora < MIN_CORPORA:
        found = f"mean lift {_signed(e.value)}{unit}"
        return Verdict(
            "undecided", f"{found} is not judged: it rests on {_corpora(e.corpora)}, and {MIN_CORPORA} are needed."
        )
    if math.isnan(e.low):
        return Verdict("undecided", f"mean lift {_signed(e.value)}{unit}, no interval: {e.note}.")
    numbers = f"{_numbers(e, unit)} over {_corpora(e.corpora)}"
    if equivalent(e, margin):
        return Verdict("clean", f"{numbers} is wholly within ±{margin:.3g}{unit}.")
    if e.low > 0 or e.high < 0:
        return Verdict("moved", f"{numbers} lies {'above' if e.low > 0 else 'below'} 0.")
    return Verdict("undecided", f"{numbers} spans 0 and reaches beyond ±{margin:.3g}{unit}.")


def too_few_corpora(taught: int, neutral: int) -> str:
    """What the comparison of a rate over corpora lacks, or ""."""
    if min(taught, neutral) >= MIN_CORPORA:
        return ""
    return (
        f"it rests on {_corpora(taught)} of the teacher and {neutral} of the neutral one, and {MIN_CORPORA} of each "
        "are needed (teachers.corpora, teachers.neutral_corpora)"
    )


def _null(e: Estimate, numbers: str, within: str, control: Control | None) -> Verdict:
    size = "above 0 but negligible: " if e.low > 0 else ""
    if control is None or control.verdict == "transfer":
        return Verdict("no transfer", f"{numbers} is {size}{within}.")
    if control.itself:
        lack = "this own-family cell is the positive control and shows no transfer"
    elif control.verdict is None:
        lack = f"its positive control {control.name} was not measured"
    else:
        lack = f"its positive control {control.name} is itself “{control.verdict}”"
    return Verdict("gate failed", f"{numbers} is {size}{within}, but {lack}: no null is claimed.")


def _not_after_holm(claim: str, p: float, cells: int, alpha: float) -> Verdict:
    return Verdict(
        "underpowered",
        f"{claim}, but not after Holm's correction for the {cells} cells of the primary metric: "
        f"p = {p:.2g} exceeds {alpha / 2:g}.",
    )


def _few_teachers(teachers: int) -> str:
    count = math.factorial(teachers)
    return (
        f"{teachers} teacher{'s' if teachers > 1 else ''}, whose targets have {count} "
        f"permutation{'s' if count > 1 else ''}; teach at least {MIN_TEACHERS} targets"
    )


def _corpora(number: int) -> str:
    return f"{number} corpus" if number == 1 else f"{number} corpora"


def _undecided(e: Estimate, margin: float, alpha: float, unit: str) -> str:
    if e.low > 0 and e.p is not None and e.smallest_p is not None and e.smallest_p > alpha:
        return (
            f"lies above 0, but with {e.teachers} teachers the permutation p cannot get below "
            f"{e.smallest_p:.2g} (α = {alpha:g}); teach more targets"
        )
    if e.low > 0:
        return f"lies above 0, but {_kind(e)} p = {e.p:.2g} exceeds α = {alpha:g}"
    if e.high < 0:
        return f"lies below 0 and reaches beyond ±{margin:.3g}{unit}: neither transfer nor a null; see the runs"
    return f"spans 0 and reaches beyond ±{margin:.3g}{unit}: neither shown nor excluded"


def _kind(e: Estimate) -> str:
    return "draw" if e.drawn else "permutation"


def _numbers(e: Estimate, unit: str) -> str:
    return f"{_signed(e.value)}{unit} [{_signed(e.low)}, {_signed(e.high)}]"


def _signed(x: float) -> str:
    """+0.412, −0.031; never −0.000, and with a true minus sign."""
    text = f"{x:+.3f}"
    return (text[1:] if float(text) == 0 else text).replace("-", "−")
