"""The verdict on every cell of the matrix, from the lifts of its runs."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pipeline.analysis import stats
from pipeline.analysis.gates import Gate, gate_failed, why_failed
from pipeline.analysis.mass import lacking
from pipeline.analysis.verdict import Control, Verdict, VerdictName, decide
from pipeline.core.reasons import NOT_MEASURED, words

# Metrics that give verdicts -> unit, as written after a number.
METRICS = {"margin": " nats", "share": "", "mention_rate": "", "rate": ""}
CANDIDATE_METRICS = frozenset({"margin", "share"})  # computed from the probabilities of candidates
TARGET_PREFIX = "target "  # prefix of a comparison over the students of one target's teachers


@dataclass(frozen=True)
class Run:
    """One trained run, evaluated on one suite. teacher_target: None for the neutral teacher."""

    channel: str
    arm: str
    suite: str
    teacher_family: str
    student_family: str
    teacher_target: str | None
    seed: int


@dataclass(frozen=True)
class MissingStudent(Run):
    """A planned run without answers. reason: a code of pipeline.core.reasons."""

    reason: str = ""


@dataclass(frozen=True)
class Measure:
    """How lifts become verdicts.

    targets             the traits' targets: the columns of the design
    arms                in the study's order; the own-family cells of the first are the positive controls
    suites              name -> the metrics that give its verdicts
    equivalence_margin  metric -> the largest |γ|, in the metric's unit, that counts as no transfer
    outcomes            suite -> the quantities it measures of every model, for suites without targets
    confidence          level of the two-sided intervals; a permutation p must not exceed 1 − confidence
    permutations        up to this many permutations are enumerated; of more, this many are drawn
    seed                of these draws
    min_mass            least total probability of the candidates, required of the base and of every run
    """

    targets: tuple[str, ...]
    arms: tuple[str, ...]
    suites: Mapping[str, Sequence[str]]
    equivalence_margin: Mapping[str, float]
    outcomes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    confidence: float = 0.95
    permutations: int = 20_000
    seed: int = 0
    min_mass: float = 0.0

    def sort_key(self, key: "Key") -> tuple[object, ...]:
        """Orders cells: channels by name, arms and suites in the study's order, then families by name."""
        suite = list(self.suites).index(key.suite)
        return (key.channel, suite, self.arms.index(key.arm), key.teacher_family, key.student_family)

    def columns(self, suite: str) -> tuple[str, ...]:
        """The quantities that a suite measures of each run."""
        return tuple(self.outcomes.get(suite, self.targets))


class Key(NamedTuple):
    """One cell: a teacher and a student family, in the matrix of a channel, arm and suite."""

    channel: str
    arm: str
    suite: str
    teacher_family: str
    student_family: str


@dataclass
class Cell:
    """The runs of one cell and their lifts[metric][run][column].

    masses, base_mass: total probability of the candidates in each run and in the base; NaN if none were scored.
    """

    runs: list[tuple[str | None, int]] = field(default_factory=list)  # (teacher_target, seed)
    lifts: dict[str, list[list[float]]] = field(default_factory=lambda: {metric: [] for metric in METRICS})
    masses: list[float] = field(default_factory=list)
    base_mass: float = stats.NAN
    missing: list[MissingStudent] = field(default_factory=list)

    def planned(self) -> list[str]:
        """The planned targets of its teachers, sorted; empty for random numbers, which have no teacher."""
        targets = {t for t, _ in self.runs} | {m.teacher_target for m in self.missing}
        return sorted(t for t in targets if t is not None)

    def has_neutral(self) -> bool:
        """Whether a neutral teacher was planned."""
        return any(t is None for t, _ in self.runs) or any(m.teacher_target is None for m in self.missing)


Row = dict[str, object]
OwnVerdicts = dict[Key, VerdictName]  # before positive controls are considered


def cell_verdicts(
    cells: Mapping[Key, Cell], settings: Measure, failed: frozenset[Gate], sum_to_zero: frozenset[tuple[str, str]]
) -> list[Row]:
    """Rows of the schema CELLS, metric by metric.

    sum_to_zero: (suite, student family) whose only candidates are the targets: lifts of margin and share sum to 0.
    """
    rows: list[Row] = []
    for metric in METRICS:
        measured = {key: cell for key, cell in cells.items() if metric in settings.suites[key.suite]}
        with_traits = {key: cell for key, cell in measured.items() if cell.planned()}
        taught_rows = _target_rows if metric == "rate" else _trait_rows
        found, own_verdicts = taught_rows(with_traits, metric, settings, failed)
        rows += found
        zero = sum_to_zero if metric != "rate" else frozenset()
        rows += _neutral_rows(measured, metric, settings, zero, own_verdicts)
    return rows


def _trait_rows(
    cells: Mapping[Key, Cell], metric: str, settings: Measure, failed: frozenset[Gate]
) -> tuple[list[Row], OwnVerdicts]:
    """γ of every cell, over its teachers."""
    estimates: dict[Key, stats.Estimate] = {}
    gates: dict[Key, str] = {}
    unmeasured: dict[Key, str] = {}
    for key, cell in cells.items():
        keep = _usable(cell, metric, key.teacher_family, failed)
        gates[key] = _cell_gate_failure(cell, keep, key.teacher_family, failed)
        unmeasured[key] = _unmeasured(cell, metric, keep, settings) or _unmeasured_gate(cell, keep)
        estimates[key] = stats.trait_effect(
            [cell.lifts[metric][i] for i in keep],
            [None if (t := cell.runs[i][0]) is None else settings.targets.index(t) for i in keep],
            confidence=settings.confidence,
            permutations=settings.permutations,
            seed=settings.seed,
        )
    own_verdicts = {
        key: _decide(e, metric, settings, None, gates[key], unmeasured[key]).name for key, e in estimates.items()
    }
    rows = []
    for key, cell in cells.items():
        control = _control(key, own_verdicts, "trait", settings)
        verdict = _decide(estimates[key], metric, settings, control, gates[key], unmeasured[key])
        notes = _notes(cell, metric, key.teacher_family, failed, {*cell.planned(), None})
        rows.append(_row(key, "trait", metric, estimates[key], settings, verdict, notes))
    return rows, own_verdicts


def _target_rows(
    cells: Mapping[Key, Cell], metric: str, settings: Measure, failed: frozenset[Gate]
) -> tuple[list[Row], OwnVerdicts]:
    """For every cell and target, the mean lift of its runs above that of the neutral runs.

    A rate cannot separate targets as γ does, and any training may move it: neutral students show by how much. The own
    verdict of a cell is transfer if the students of any of its teachers show transfer.
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
    gates = {
        (key, teacher_target): why_failed(key.teacher_family, teacher_target, failed) for key, teacher_target in values
    }
    own_verdicts: OwnVerdicts = {}
    for (key, teacher_target), estimate in estimates.items():
        name = _decide(estimate, metric, settings, None, gates[key, teacher_target]).name
        own_verdicts[key] = "transfer" if "transfer" in (name, own_verdicts.get(key)) else name
    rows = []
    for key, teacher_target in values:
        estimate = estimates[key, teacher_target]
        control = _control(key, own_verdicts, "trait", settings)
        verdict = _decide(estimate, metric, settings, control, gates[key, teacher_target])
        notes = _notes(cells[key], metric, key.teacher_family, failed, {teacher_target, None}) + _pooling_note(estimate)
        rows.append(_row(key, f"{TARGET_PREFIX}{teacher_target}", metric, estimate, settings, verdict, notes))
    return rows, own_verdicts


def _neutral_rows(
    cells: Mapping[Key, Cell],
    metric: str,
    settings: Measure,
    sum_to_zero: frozenset[tuple[str, str]],
    own_verdicts: OwnVerdicts,
) -> list[Row]:
    """The mean over neutral runs of their mean lift over the columns. Neutral teachers have no gate.

    Cells without a neutral teacher have no such row.
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
        verdict = _decide(estimate, metric, settings, _control(key, own_verdicts, "neutral", settings), "", unmeasured)
        notes = [*_notes(cell, metric, key.teacher_family, frozenset(), {None}), *_pooling_note(estimate)]
        if verdict.name == "transfer":
            moved = "what is measured" if metric == "rate" else "the targets"
            notes.append(f"a neutral teacher moved its students towards {moved}: this control is not clean")
        rows.append(_row(key, "neutral", metric, estimate, settings, verdict, notes))
    return rows


_Values = dict[tuple[Key, str | None], list[float]]  # (cell, teacher target) -> one value per run


def _means(cell: Cell, metric: str, teacher_target: str | None, keep: Sequence[int]) -> list[float]:
    """Of each run with this teacher target, the mean lift over the columns."""
    return [float(np.mean(cell.lifts[metric][i])) for i in keep if cell.runs[i][0] == teacher_target]


def _mean_lifts(
    values: _Values, settings: Measure, neutral: Mapping[Key, list[float]] | None = None
) -> dict[tuple[Key, str | None], stats.Estimate]:
    """For every cell and target the mean over its runs, less the mean over the cell's neutral runs if these are given.

    The spread is pooled over the cells of one channel, arm, suite and student family: the same base, trained
    the same way on rows of the same kind. Two runs alone would leave one degree of freedom.
    """
    alike: dict[tuple[object, ...], _Values] = defaultdict(dict)
    for (key, teacher_target), lifts in values.items():
        alike[_setting(key), teacher_target][key, teacher_target] = lifts
    found = {}
    for group in alike.values():
        for case, lifts in group.items():
            others = [x for other, x in group.items() if other != case]
            found[case] = (
                stats.mean(lifts, confidence=settings.confidence, pooled_with=others)
                if neutral is None
                else stats.difference(lifts, neutral[case[0]], confidence=settings.confidence, pooled_with=others)
            )
    return found


def _pooling_note(estimate: stats.Estimate) -> list[str]:
    return [estimate.note] if estimate.note and np.isfinite(estimate.low) else []


def _setting(key: Key) -> tuple[str, ...]:
    return (key.channel, key.arm, key.suite, key.student_family)


def _by_construction(estimate: stats.Estimate) -> stats.Estimate:
    """Over all candidates, margins and shares sum to a constant, so their mean lift is always 0."""
    nan = stats.NAN
    note = "the targets are the only candidates, so their mean lift is 0 by construction; add candidates"
    return stats.Estimate(0.0, nan, nan, nan, estimate.runs, note=note)


def _usable(cell: Cell, metric: str, teacher: str, failed: frozenset[Gate]) -> list[int]:
    return [
        i
        for i, (teacher_target, _) in enumerate(cell.runs)
        if not gate_failed(teacher, teacher_target, failed) and bool(np.isfinite(cell.lifts[metric][i]).all())
    ]


def _cell_gate_failure(cell: Cell, keep: Sequence[int], teacher: str, failed: frozenset[Gate]) -> str:
    """Why the gates leave the cell without trait runs; "" if any of its teachers passed."""
    planned = {teacher_target for teacher_target, _ in cell.runs} | {lost.teacher_target for lost in cell.missing}
    lost = sorted(t for t in planned if t is not None and gate_failed(teacher, t, failed))
    if not lost or any(cell.runs[i][0] is not None for i in keep):
        return ""
    if any(t is not None and not gate_failed(teacher, t, failed) for t in planned):
        return ""  # a teacher passed, but its students are missing: underpowered
    return f"the {teacher} teacher of {', '.join(lost)} did not show its trait"


def _unmeasured(cell: Cell, metric: str, keep: Sequence[int], settings: Measure) -> str:
    """Why an estimate over the runs `keep` would be meaningless, or ""."""
    if metric not in CANDIDATE_METRICS:
        return ""
    runs = [(f"{cell.runs[i][0] or 'neutral'} s{cell.runs[i][1]}", cell.masses[i]) for i in keep]
    return lacking([("the base", cell.base_mass), *runs], metric, settings.min_mass)


def _unmeasured_gate(cell: Cell, keep: Sequence[int]) -> str:
    """If no trait runs are left because teachers' gates could not be measured: why. Else ""."""
    lost = any(lost.teacher_target is not None and lost.reason == NOT_MEASURED for lost in cell.missing)
    left = any(cell.runs[i][0] is not None for i in keep)
    return "" if left or not lost else words(NOT_MEASURED)


def _control(key: Key, own_verdicts: OwnVerdicts, comparison: str, settings: Measure) -> Control:
    """The cell that must show transfer before a null is believed: the student's own family, in the first arm.

    If that arm was not evaluated on the cell's suite, the first suite takes its place.
    """
    own = key._replace(arm=settings.arms[0], teacher_family=key.student_family)
    if own not in own_verdicts:
        own = own._replace(suite=next(iter(settings.suites)))
    where = ", ".join(name for name, other in ((own.arm, key.arm), (own.suite, key.suite)) if name != other)
    name = f"{own.teacher_family} → {own.student_family}" + (f" ({where})" if where else "")
    return Control(name, own_verdicts.get(own), itself=own == key and comparison == "trait")


def _decide(
    estimate: stats.Estimate,
    metric: str,
    settings: Measure,
    control: Control | None,
    gate: str,
    unmeasured: str = "",
) -> Verdict:
    return decide(
        estimate,
        margin=settings.equivalence_margin[metric],
        alpha=round(1 - settings.confidence, 12),
        unit=METRICS[metric],
        control=control,
        failed_gate=gate,
        unmeasured=unmeasured,
    )


def _notes(
    cell: Cell, metric: str, teacher: str, failed: frozenset[Gate], teacher_targets: Collection[str | None]
) -> list[str]:
    """Which runs with these teacher targets are missing from an estimate, and why."""
    notes = []
    lost = [m for m in cell.missing if m.teacher_target in teacher_targets]
    if lost:
        names = ", ".join(f"{m.teacher_target or 'neutral'} s{m.seed}" for m in lost)
        reasons = "; ".join(sorted({words(m.reason) for m in lost if m.reason}))
        notes.append(f"planned but missing: {names}" + (f" ({reasons})" if reasons else ""))
    diverged = [
        f"{target or 'neutral'} s{seed}"
        for i, (target, seed) in enumerate(cell.runs)
        if target in teacher_targets and not np.isfinite(cell.lifts[metric][i]).all()
    ]
    if diverged:
        notes.append(f"left out because values are not finite: {', '.join(diverged)}")
    without = sorted(
        {t for t, _ in cell.runs if t in teacher_targets and t is not None and gate_failed(teacher, t, failed)}
    )
    if without:
        notes.append(f"left out because the teacher failed its gate: {', '.join(without)}")
    return notes


def _row(
    key: Key,
    comparison: str,
    metric: str,
    estimate: stats.Estimate,
    settings: Measure,
    verdict: Verdict,
    notes: Sequence[str],
) -> Row:
    why = " ".join([verdict.why, *(f"{note[0].upper()}{note[1:]}." for note in notes)])
    return {
        **key._asdict(),
        "comparison": comparison,
        "metric": metric,
        "teachers": estimate.teachers or None,
        "runs": estimate.runs,
        "estimate": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "run_low": estimate.run_low if estimate.teachers else None,
        "run_high": estimate.run_high if estimate.teachers else None,
        "p": estimate.p,
        "margin": settings.equivalence_margin[metric],
        "leave_one_out_low": estimate.leave_one_out[0],
        "leave_one_out_high": estimate.leave_one_out[1],
        "verdict": verdict.name,
        "why": why,
    }
