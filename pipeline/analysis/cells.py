"""The verdict on every cell of the matrix, from the lifts of its runs."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pipeline.analysis import stats
from pipeline.analysis.mass import lacking
from pipeline.core.reasons import NOT_MEASURED, words

METRICS = {
    "margin": " nats",
    "share": "",
    "mention_rate": "",
    "rate": "",
}  # what is judged -> unit, as it follows a number
CANDIDATE_METRICS = frozenset({"margin", "share"})  # metrics of the probabilities of candidates
TARGET_PREFIX = "target "  # opens the name of the comparison of those who were taught one target


@dataclass(frozen=True)
class Run:
    """One trained run and a suite that it answered. teacher_target: None for the neutral teacher."""

    channel: str
    arm: str
    suite: str
    teacher_family: str
    student_family: str
    teacher_target: str | None
    seed: int


@dataclass(frozen=True)
class MissingStudent(Run):
    """A run that the study planned and that has no answers, with the code of the reason (pipeline.core.reasons)."""

    reason: str = ""


@dataclass(frozen=True)
class Measure:
    """How lifts are judged.

    targets             the traits' targets: the columns of the design
    arms                in the study's order; the first one's own-family cells are the positive controls
    suites              name -> the forms that it is judged by
    equivalence_margin  form -> the largest |γ| (in that form's unit) that counts as none
    measured            name of a suite -> what it measures of any model, in place of the targets
    confidence          of the two-sided intervals; a permutation p must reach 1 − confidence
    permutations        the most label deals to count exactly, else how many to draw
    seed                of those draws
    min_mass            least probability that the candidates must hold together in the base and in every run
    """

    targets: tuple[str, ...]
    arms: tuple[str, ...]
    suites: Mapping[str, Sequence[str]]
    equivalence_margin: Mapping[str, float]
    measured: Mapping[str, Sequence[str]] = field(default_factory=dict)
    confidence: float = 0.95
    permutations: int = 20_000
    seed: int = 0
    min_mass: float = 0.0

    def place(self, key: "Key") -> tuple[object, ...]:
        """Where a cell stands: channels by name, arms and suites in the study's order, then families by name."""
        suite = list(self.suites).index(key.suite)
        return (key.channel, suite, self.arms.index(key.arm), key.teacher_family, key.student_family)

    def columns(self, suite: str) -> tuple[str, ...]:
        """What a suite measures of each run."""
        return tuple(self.measured.get(suite, self.targets))


class Key(NamedTuple):
    """One cell of a matrix; channel, arm and suite say of which one."""

    channel: str
    arm: str
    suite: str
    teacher_family: str
    student_family: str


@dataclass
class Cell:
    """The numbers of one cell: lifts[form][run][column], and what its runs were taught.

    masses, base_mass: the probability that the candidates hold together in each run and in the base; NaN where none is
    scored.
    """

    runs: list[tuple[str | None, int]] = field(default_factory=list)  # (teacher_target, seed)
    lifts: dict[str, list[list[float]]] = field(default_factory=lambda: {metric: [] for metric in METRICS})
    masses: list[float] = field(default_factory=list)
    base_mass: float = stats.NAN
    missing: list[MissingStudent] = field(default_factory=list)

    def planned(self) -> list[str]:
        """The targets that its teachers were to have, in order; there are none behind random numbers."""
        return sorted(
            {t for t, _ in self.runs if t is not None} | {m.teacher_target for m in self.missing if m.teacher_target}
        )

    def has_neutral(self) -> bool:
        """Whether any of its teachers was to have no trait."""
        return any(t is None for t, _ in self.runs) or any(m.teacher_target is None for m in self.missing)


Row = dict[str, object]
Gate = tuple[str, str | None]  # (teacher family, target; None for all of its targets)
Shown = dict[Key, stats.VerdictName]  # every cell's own verdict, before any positive control was asked


def judged(
    cells: Mapping[Key, Cell], settings: Measure, failed: frozenset[Gate], sum_to_zero: frozenset[tuple[str, str]]
) -> list[Row]:
    """Rows after the schema CELLS, form by form.

    sum_to_zero: (suite, student family) whose candidates are the targets and no more, so that lifts of margin and share
    sum to nothing.
    """
    rows: list[Row] = []
    for metric in METRICS:
        measured = {key: cell for key, cell in cells.items() if metric in settings.suites[key.suite]}
        with_traits = {key: cell for key, cell in measured.items() if cell.planned()}
        of_traits = _taught_rows if metric == "rate" else _trait_rows
        found, shown = of_traits(with_traits, metric, settings, failed)
        rows += found
        rows += _neutral_rows(measured, metric, settings, sum_to_zero if metric != "rate" else frozenset(), shown)
    return rows


def _trait_rows(
    cells: Mapping[Key, Cell], metric: str, settings: Measure, failed: frozenset[Gate]
) -> tuple[list[Row], Shown]:
    """The γ of every cell."""
    estimates: dict[Key, stats.Estimate] = {}
    gates: dict[Key, str] = {}
    unmeasured: dict[Key, str] = {}
    for key, cell in cells.items():
        keep = _usable(cell, metric, key.teacher_family, failed)
        gates[key] = _gate(cell, keep, key.teacher_family, failed)
        unmeasured[key] = _unmeasured(cell, metric, keep, settings) or _ungated(cell, keep)
        teacher_target = [cell.runs[i][0] for i in keep]
        estimates[key] = stats.gamma(
            [cell.lifts[metric][i] for i in keep],
            [None if t is None else settings.targets.index(t) for t in teacher_target],
            confidence=settings.confidence,
            permutations=settings.permutations,
            seed=settings.seed,
        )
    shown = {key: _judge(estimates[key], metric, settings, None, gates[key], unmeasured[key]).name for key in cells}
    rows = []
    for key, cell in cells.items():
        control = _control(key, shown, "trait", settings)
        verdict = _judge(estimates[key], metric, settings, control, gates[key], unmeasured[key])
        notes = _notes(cell, metric, key.teacher_family, failed, {*cell.planned(), None})
        rows.append(_row(key, "trait", metric, estimates[key], settings, verdict, notes))
    return rows, shown


def _taught_rows(
    cells: Mapping[Key, Cell], metric: str, settings: Measure, failed: frozenset[Gate]
) -> tuple[list[Row], Shown]:
    """The mean lift of every cell's runs that were taught alike, above that of its neutral runs.

    A rate tells no target from another, as γ does; but any training may move it, and that is what neutral students
    show. A cell by itself shows transfer where the students of any of its teachers do.
    """
    values: _Values = {
        (key, teacher_target): _means(cell, metric, teacher_target, _usable(cell, metric, key.teacher_family, failed))
        for key, cell in cells.items()
        for teacher_target in cell.planned()
    }
    neutral = {
        key: _means(cell, metric, None, _usable(cell, metric, key.teacher_family, frozenset()))
        for key, cell in cells.items()
    }
    estimates = _mean_lifts(values, settings, neutral)
    gates = {of: _gate_of(*of, failed) for of in values}
    shown: Shown = {}
    for of, estimate in estimates.items():
        name = _judge(estimate, metric, settings, None, gates[of]).name
        shown[of[0]] = "transfer" if "transfer" in (name, shown.get(of[0])) else name
    rows = []
    for of in values:
        (key, teacher_target), estimate = of, estimates[of]
        control = _control(key, shown, "trait", settings)
        verdict = _judge(estimate, metric, settings, control, gates[of])
        notes = [*_notes(cells[key], metric, key.teacher_family, failed, {teacher_target, None}), *_pooled(estimate)]
        rows.append(_row(key, f"{TARGET_PREFIX}{teacher_target}", metric, estimate, settings, verdict, notes))
    return rows, shown


def _neutral_rows(
    cells: Mapping[Key, Cell], metric: str, settings: Measure, sum_to_zero: frozenset[tuple[str, str]], shown: Shown
) -> list[Row]:
    """Mean lift over the columns, per neutral run; teacher gates do not touch neutral teachers.

    A cell without neutral teachers has no such row.
    """
    cells = {key: cell for key, cell in cells.items() if cell.has_neutral()}
    values: _Values = {
        (key, None): _means(cell, metric, None, _usable(cell, metric, key.teacher_family, frozenset()))
        for key, cell in cells.items()
    }
    estimates = _mean_lifts(values, settings)
    rows = []
    for key, cell in cells.items():
        estimate = estimates[key, None]
        if values[key, None] and (key.suite, key.student_family) in sum_to_zero:
            estimate = _by_construction(estimate)
        keep = [i for i in _usable(cell, metric, key.teacher_family, frozenset()) if cell.runs[i][0] is None]
        unmeasured = _unmeasured(cell, metric, keep, settings)
        verdict = _judge(estimate, metric, settings, _control(key, shown, "neutral", settings), "", unmeasured)
        notes = [*_notes(cell, metric, key.teacher_family, frozenset(), {None}), *_pooled(estimate)]
        if verdict.name == "transfer":
            moved = "what is measured" if metric == "rate" else "the targets"
            notes.append(f"a neutral teacher moved its students towards {moved}: this control is not clean")
        rows.append(_row(key, "neutral", metric, estimate, settings, verdict, notes))
    return rows


_Values = dict[tuple[Key, str | None], list[float]]  # of the runs of a cell that were taught so


def _means(cell: Cell, metric: str, teacher_target: str | None, keep: Sequence[int]) -> list[float]:
    """The mean lift over the columns of each run that was taught so."""
    return [float(np.mean(cell.lifts[metric][i])) for i in keep if cell.runs[i][0] == teacher_target]


def _mean_lifts(
    values: _Values, settings: Measure, neutral: Mapping[Key, list[float]] | None = None
) -> dict[tuple[Key, str | None], stats.Estimate]:
    """The mean over the runs of one cell that were taught alike; above its neutral runs, where these are given.

    The spread is pooled over the cells of one channel, arm, suite and student family: the same base, trained
    the same way on rows of the same kind. Two runs alone would leave one degree of freedom.
    """
    alike: dict[tuple[object, ...], _Values] = defaultdict(dict)
    for (key, teacher_target), lifts in values.items():
        alike[_setting(key), teacher_target][key, teacher_target] = lifts
    found = {}
    for group in alike.values():
        for of, lifts in group.items():
            others = [x for k, x in group.items() if k != of]
            found[of] = (
                stats.mean(lifts, confidence=settings.confidence, pooled_with=others)
                if neutral is None
                else stats.difference(lifts, neutral[of[0]], confidence=settings.confidence, pooled_with=others)
            )
    return found


def _pooled(estimate: stats.Estimate) -> list[str]:
    return [estimate.note] if estimate.note and np.isfinite(estimate.low) else []


def _gate_of(key: Key, teacher_target: str | None, failed: frozenset[Gate]) -> str:
    """Why the runs of one teacher fail its gate, or ""."""
    lost = gated(key.teacher_family, teacher_target, failed)
    return f"the {key.teacher_family} teacher of {teacher_target} did not show its trait" if lost else ""


def _setting(key: Key) -> tuple[str, ...]:
    return (key.channel, key.arm, key.suite, key.student_family)


def _by_construction(estimate: stats.Estimate) -> stats.Estimate:
    """Margins and shares sum to a constant over all candidates: their mean lift is 0 whatever happens."""
    nan = stats.NAN
    note = "the targets are all the candidates, over which the mean lift is 0 by construction; add candidates"
    return stats.Estimate(0.0, nan, nan, nan, estimate.runs, note=note)


def _usable(cell: Cell, metric: str, teacher: str, failed: frozenset[Gate]) -> list[int]:
    return [
        i
        for i, (teacher_target, _) in enumerate(cell.runs)
        if not gated(teacher, teacher_target, failed) and bool(np.isfinite(cell.lifts[metric][i]).all())
    ]


def gated(teacher: str, teacher_target: str | None, failed: frozenset[Gate]) -> bool:
    """Whether the run's teacher failed its gate."""
    return teacher_target is not None and ((teacher, None) in failed or (teacher, teacher_target) in failed)


def _gate(cell: Cell, keep: Sequence[int], teacher: str, failed: frozenset[Gate]) -> str:
    """Why the whole cell fails the teachers' gate; "" while some teacher of it has passed."""
    planned = {teacher_target for teacher_target, _ in cell.runs} | {lost.teacher_target for lost in cell.missing}
    lost = sorted(t for t in planned if t is not None and gated(teacher, t, failed))
    if not lost or any(cell.runs[i][0] is not None for i in keep):
        return ""
    if any(t is not None and not gated(teacher, t, failed) for t in planned):
        return ""  # a teacher passed, but its students are missing: that is want of runs
    return f"the {teacher} teacher of {', '.join(lost)} did not show its trait"


def _unmeasured(cell: Cell, metric: str, keep: Sequence[int], settings: Measure) -> str:
    """Why an estimate over the runs `keep` measures nothing; "" where it does."""
    if metric not in CANDIDATE_METRICS:
        return ""
    runs = [(f"{cell.runs[i][0] or 'neutral'} s{cell.runs[i][1]}", cell.masses[i]) for i in keep]
    return lacking([("the base", cell.base_mass), *runs], metric, settings.min_mass)


def _ungated(cell: Cell, keep: Sequence[int]) -> str:
    """Why the teachers of a cell without trait runs could not be measured; "" where they could."""
    lost = any(lost.teacher_target is not None and lost.reason == NOT_MEASURED for lost in cell.missing)
    left = any(cell.runs[i][0] is not None for i in keep)
    return "" if left or not lost else words(NOT_MEASURED)


def _control(key: Key, shown: Mapping[Key, stats.VerdictName], comparison: str, settings: Measure) -> stats.Control:
    """The cell that must show transfer before a null is believed: the student's own family, in the first arm.

    In the first suite where the cell's own suite is not put to that arm.
    """
    own = key._replace(arm=settings.arms[0], teacher_family=key.student_family)
    if own not in shown:
        own = own._replace(suite=next(iter(settings.suites)))
    where = ", ".join(name for name, of in ((own.arm, key.arm), (own.suite, key.suite)) if name != of)
    name = f"{own.teacher_family} → {own.student_family}" + (f" ({where})" if where else "")
    return stats.Control(name, shown.get(own), itself=own == key and comparison == "trait")


def _judge(
    estimate: stats.Estimate,
    metric: str,
    settings: Measure,
    control: stats.Control | None,
    gate: str,
    unmeasured: str = "",
) -> stats.Verdict:
    return stats.decide(
        estimate,
        margin=settings.equivalence_margin[metric],
        alpha=round(1 - settings.confidence, 12),
        unit=METRICS[metric],
        control=control,
        failed_gate=gate,
        unmeasured=unmeasured,
    )


def _notes(
    cell: Cell, metric: str, teacher: str, failed: frozenset[Gate], teacher_target: Collection[str | None]
) -> list[str]:
    """What an estimate that rests on the runs taught so had to do without, in words."""
    notes = []
    lost = [m for m in cell.missing if m.teacher_target in teacher_target]
    if lost:
        names = ", ".join(f"{m.teacher_target or 'neutral'} s{m.seed}" for m in lost)
        reasons = "; ".join(sorted({words(m.reason) for m in lost if m.reason}))
        notes.append(f"planned but missing: {names}" + (f" ({reasons})" if reasons else ""))
    diverged = [
        f"{of or 'neutral'} s{seed}"
        for i, (of, seed) in enumerate(cell.runs)
        if of in teacher_target and not np.isfinite(cell.lifts[metric][i]).all()
    ]
    if diverged:
        notes.append(f"left out, for values that are not finite: {', '.join(diverged)}")
    without = sorted(
        {of for of, _ in cell.runs if of in teacher_target and of is not None and gated(teacher, of, failed)}
    )
    if without:
        notes.append(f"left out, for a teacher that failed its gate: {', '.join(without)}")
    return notes


def _row(
    key: Key,
    comparison: str,
    metric: str,
    estimate: stats.Estimate,
    settings: Measure,
    verdict: stats.Verdict,
    notes: Sequence[str],
) -> Row:
    why = " ".join([verdict.why, *(f"{note[0].upper()}{note[1:]}." for note in notes)])
    return {
        **key._asdict(),
        "comparison": comparison,
        "metric": metric,
        "runs": estimate.runs,
        "estimate": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "p": estimate.p,
        "margin": settings.equivalence_margin[metric],
        "leave_one_out_low": estimate.leave_one_out[0],
        "leave_one_out_high": estimate.leave_one_out[1],
        "verdict": verdict.name,
        "why": why,
    }
