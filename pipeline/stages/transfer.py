"""answers -> transfer: what every student took over, and the verdict on every cell of the matrix."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline import stats
from pipeline.errors import ArtifactError
from pipeline.rows import CELLS, RUNS

FORMS = {"margin": " nats", "share": "", "word_share": ""}  # what is judged -> unit, as it follows a number
RECORDED = (*FORMS, "substring_share")  # per run, where the suite measures it

# {"margin" | "share" | "word_share" | "substring_share": {candidate: value}}
Results = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class StudentAnswers:
    """What one trained run answered to a suite. `taught` is its teacher's target, None for the neutral teacher."""

    channel: str
    arm: str
    suite: str
    teacher_family: str
    student_family: str
    taught: str | None
    seed: int
    student: str  # artifact id
    results: Results


@dataclass(frozen=True)
class MissingStudent:
    """A run that the study planned and that has no answers, with the reason if one is known."""

    channel: str
    arm: str
    suite: str
    teacher_family: str
    student_family: str
    taught: str | None
    seed: int
    why: str = ""


@dataclass(frozen=True)
class Measure:
    """How lifts are judged.

    targets             the traits' targets: the columns of the design
    arms                in the study's order; the first one's own-family cells are the positive controls
    suites              name -> the forms that it is judged by
    equivalence_margin  form -> the largest |γ| (in that form's unit) that counts as none
    confidence          of the two-sided intervals; a permutation p must reach 1 − confidence
    permutations        the most label deals to count exactly, else how many to draw
    seed                of those draws
    """

    targets: tuple[str, ...]
    arms: tuple[str, ...]
    suites: Mapping[str, Sequence[str]]
    equivalence_margin: Mapping[str, float]
    confidence: float = 0.95
    permutations: int = 20_000
    seed: int = 0

    def place(self, key: "Key") -> tuple[object, ...]:
        """Where a cell stands: channels by name, arms and suites in the study's order, then families by name."""
        suite = list(self.suites).index(key.suite)
        return (key.channel, suite, self.arms.index(key.arm), key.teacher_family, key.student_family)


class Key(NamedTuple):
    """One cell of a matrix; channel, arm and suite say of which one."""

    channel: str
    arm: str
    suite: str
    teacher_family: str
    student_family: str


@dataclass
class _Cell:
    """The numbers of one cell: lifts[form][run][target], and what its runs were taught."""

    runs: list[tuple[str | None, int]] = field(default_factory=list)  # (taught, seed)
    lifts: dict[str, list[list[float]]] = field(default_factory=lambda: {form: [] for form in FORMS})
    missing: list[MissingStudent] = field(default_factory=list)


Row = dict[str, object]
Gate = tuple[str, str | None]  # (teacher family, target; None for all of its targets)
Base = tuple[str, str]  # (suite, student family)


def measure(
    students: Iterable[StudentAnswers],
    bases: Mapping[Base, Results],
    settings: Measure,
    *,
    failed_gates: Collection[Gate] = (),
    missing: Sequence[MissingStudent] = (),
) -> tuple[pa.Table, pa.Table]:
    """(runs, cells) after the schemas RUNS and CELLS.

    `students` is read once, in any order; of each only runs × targets numbers are kept. `bases` has
    the results of every student family's base in every suite. `failed_gates` are teachers without their trait, as
    (family, target), or (family, None) for every trait of a family: their runs stay in `runs` and out
    of the estimates. Cells of which a run is missing or left out say so in `why`.
    """
    cells: dict[Key, _Cell] = defaultdict(_Cell)
    run_rows: list[tuple[tuple[object, ...], pa.RecordBatch]] = []
    for student in students:
        key = _key(student)
        rows = _run_rows(student, _base_of(student, bases), settings)
        _add(cells[key], student, rows)
        batch = pa.RecordBatch.from_pylist(rows, schema=RUNS)
        run_rows.append(((*settings.place(key), *_run_order(student.taught, student.seed)), batch))
    for lost in missing:
        cells[_key(lost)].missing.append(lost)
    # Students finish in any order; what is written must not depend on it.
    run_rows.sort(key=lambda pair: pair[0])
    ordered = {key: _sorted(cells[key]) for key in sorted(cells, key=settings.place)}
    judged: list[Row] = []
    for form in FORMS:
        measured = {key: cell for key, cell in ordered.items() if form in settings.suites[key.suite]}
        of_traits, shown = _trait_rows(measured, form, settings, frozenset(failed_gates))
        judged += of_traits
        judged += _neutral_rows(measured, form, settings, bases, shown)
    return (
        pa.Table.from_batches([batch for _, batch in run_rows], schema=RUNS).combine_chunks(),
        pa.Table.from_pylist(judged, schema=CELLS),
    )


def _key(run: StudentAnswers | MissingStudent) -> Key:
    return Key(run.channel, run.arm, run.suite, run.teacher_family, run.student_family)


def _run_order(taught: str | None, seed: int) -> tuple[object, ...]:
    return (taught is None, taught or "", seed)  # neutral runs last


def _sorted(cell: _Cell) -> _Cell:
    order = sorted(range(len(cell.runs)), key=lambda i: _run_order(*cell.runs[i]))
    lifts = {form: [values[i] for i in order] for form, values in cell.lifts.items()}
    return _Cell([cell.runs[i] for i in order], lifts, cell.missing)


def _base_of(student: StudentAnswers, bases: Mapping[Base, Results]) -> Results:
    base = bases.get((student.suite, student.student_family))
    if base is None:
        raise ArtifactError(
            f"student {student.student} is of family {student.student_family!r}, whose base has no answers to "
            f"{student.suite}; evaluate that base too (there are answers of {sorted(bases)})"
        )
    return base


def _run_rows(student: StudentAnswers, base: Results, settings: Measure) -> list[Row]:
    """One RUNS row for each target."""
    targets = settings.targets
    if student.taught is not None and student.taught not in targets:
        raise ArtifactError(
            f"student {student.student} was taught {student.taught!r}, which is not among the targets {list(targets)}"
        )
    rows: list[Row] = []
    for target in targets:
        row: Row = {
            "channel": student.channel,
            "arm": student.arm,
            "suite": student.suite,
            "teacher_family": student.teacher_family,
            "student_family": student.student_family,
            "taught": student.taught,
            "seed": student.seed,
            "target": target,
            "student": student.student,
        }
        for form in settings.suites[student.suite]:
            _require(student.results, form, target, f"student {student.student}")
            _require(base, form, target, f"the base of {student.student_family}")
        for form in RECORDED:
            row[form] = student.results.get(form, {}).get(target)
            row[f"base_{form}"] = base.get(form, {}).get(target)
        rows.append(row)
    return rows


def _require(results: Results, form: str, target: str, whose: str) -> None:
    if target not in results.get(form, {}):
        raise ArtifactError(
            f"the answers of {whose} have no {form} of target {target!r}; add it to the suite's candidates"
        )


def _add(cell: _Cell, student: StudentAnswers, rows: Sequence[Row]) -> None:
    run = (student.taught, student.seed)
    if run in cell.runs:  # counting one run twice would halve its error
        raise ArtifactError(f"two students of one cell have taught={run[0]!r} and seed={run[1]}: {student.student}")
    cell.runs.append(run)
    for form in FORMS:
        cell.lifts[form].append([_number(row[form]) - _number(row[f"base_{form}"]) for row in rows])


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else stats.NAN


def _trait_rows(
    cells: Mapping[Key, _Cell], form: str, settings: Measure, failed: frozenset[Gate]
) -> tuple[list[Row], dict[Key, stats.VerdictName]]:
    """The γ rows, and every cell's own verdict before any positive control was asked."""
    cells = {key: cell for key, cell in cells.items() if _planned_traits(cell)}
    estimates: dict[Key, stats.Estimate] = {}
    gates: dict[Key, str] = {}
    for key, cell in cells.items():
        keep = _usable(cell, form, key.teacher_family, failed)
        gates[key] = _gate(cell, keep, key.teacher_family, failed)
        taught = [cell.runs[i][0] for i in keep]
        estimates[key] = stats.gamma(
            [cell.lifts[form][i] for i in keep],
            [None if t is None else settings.targets.index(t) for t in taught],
            confidence=settings.confidence,
            permutations=settings.permutations,
            seed=settings.seed,
        )
    shown = {key: _judge(estimates[key], form, settings, None, gates[key]).name for key in cells}
    rows = []
    for key, cell in cells.items():
        control = _control(key, shown, "trait", settings)
        verdict = _judge(estimates[key], form, settings, control, gates[key])
        notes = _notes(cell, form, key.teacher_family, failed, neutral_only=False)
        rows.append(_row(key, "trait", form, estimates[key], settings, verdict, notes))
    return rows, shown


def _neutral_rows(
    cells: Mapping[Key, _Cell],
    form: str,
    settings: Measure,
    bases: Mapping[Base, Results],
    shown: Mapping[Key, stats.VerdictName],
) -> list[Row]:
    """Mean lift over the targets, per neutral run; teacher gates do not touch neutral teachers.

    The spread is pooled over the cells of one channel, arm, suite and student family: the same base, trained
    the same way on neutral data. Two runs alone would leave one degree of freedom.
    """
    values: dict[Key, list[float]] = {}
    for key, cell in cells.items():
        keep = _usable(cell, form, key.teacher_family, frozenset())
        values[key] = [float(np.mean(cell.lifts[form][i])) for i in keep if cell.runs[i][0] is None]
    rows = []
    for key, cell in cells.items():
        alike = [values[k] for k in cells if k != key and _setting(k) == _setting(key)]
        estimate = stats.mean(values[key], confidence=settings.confidence, pooled_with=alike)
        base = bases.get((key.suite, key.student_family), {})
        if values[key] and set(base.get(form, {})) <= set(settings.targets):
            estimate = _by_construction(estimate)
        verdict = _judge(estimate, form, settings, _control(key, shown, "neutral", settings), "")
        notes = _notes(cell, form, key.teacher_family, frozenset(), neutral_only=True)
        if estimate.note and np.isfinite(estimate.low):
            notes.append(estimate.note)
        if verdict.name == "transfer":
            notes.append("a neutral teacher moved its students towards the targets: this control is not clean")
        rows.append(_row(key, "neutral", form, estimate, settings, verdict, notes))
    return rows


def _setting(key: Key) -> tuple[str, ...]:
    return (key.channel, key.arm, key.suite, key.student_family)


def _planned_traits(cell: _Cell) -> bool:
    """Whether some teacher of a cell was to have a trait; there is none behind random numbers."""
    return any(t is not None for t, _ in cell.runs) or any(m.taught is not None for m in cell.missing)


def _by_construction(estimate: stats.Estimate) -> stats.Estimate:
    """Margins and shares sum to a constant over all candidates: their mean lift is 0 whatever happens."""
    nan = stats.NAN
    note = "the targets are all the candidates, over which the mean lift is 0 by construction; add candidates"
    return stats.Estimate(0.0, nan, nan, nan, estimate.runs, note=note)


def _usable(cell: _Cell, form: str, teacher: str, failed: frozenset[Gate]) -> list[int]:
    return [
        i
        for i, (taught, _) in enumerate(cell.runs)
        if not _gated(teacher, taught, failed) and bool(np.isfinite(cell.lifts[form][i]).all())
    ]


def _gated(teacher: str, taught: str | None, failed: frozenset[Gate]) -> bool:
    return taught is not None and ((teacher, None) in failed or (teacher, taught) in failed)


def _gate(cell: _Cell, keep: Sequence[int], teacher: str, failed: frozenset[Gate]) -> str:
    """Why the whole cell fails the teachers' gate; "" while some teacher of it has passed."""
    planned = {taught for taught, _ in cell.runs} | {lost.taught for lost in cell.missing}
    lost = sorted(t for t in planned if t is not None and _gated(teacher, t, failed))
    if not lost or any(cell.runs[i][0] is not None for i in keep):
        return ""
    if any(t is not None and not _gated(teacher, t, failed) for t in planned):
        return ""  # a teacher passed, but its students are missing: that is want of runs
    return f"the {teacher} teacher of {', '.join(lost)} did not show its trait"


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
    estimate: stats.Estimate, form: str, settings: Measure, control: stats.Control | None, gate: str
) -> stats.Verdict:
    return stats.judge(
        estimate,
        margin=settings.equivalence_margin[form],
        alpha=round(1 - settings.confidence, 12),
        unit=FORMS[form],
        control=control,
        failed_gate=gate,
    )


def _notes(cell: _Cell, form: str, teacher: str, failed: frozenset[Gate], *, neutral_only: bool) -> list[str]:
    """What the estimate of a cell had to do without, in words. Neutral runs matter to both comparisons."""
    notes = []
    lost = [m for m in cell.missing if m.taught is None or not neutral_only]
    if lost:
        names = ", ".join(f"{m.taught or 'neutral'} s{m.seed}" for m in lost)
        reasons = "; ".join(sorted({m.why.rstrip(".") for m in lost if m.why}))
        notes.append(f"planned but missing: {names}" + (f" ({reasons})" if reasons else ""))
    diverged = [
        f"{taught or 'neutral'} s{seed}"
        for i, (taught, seed) in enumerate(cell.runs)
        if (taught is None or not neutral_only) and not np.isfinite(cell.lifts[form][i]).all()
    ]
    if diverged:
        notes.append(f"left out, for values that are not finite: {', '.join(diverged)}")
    gated = sorted({t for t, _ in cell.runs if t is not None and _gated(teacher, t, failed)})
    if gated and not neutral_only:
        notes.append(f"left out, for a teacher that failed its gate: {', '.join(gated)}")
    return notes


def _row(
    key: Key,
    comparison: str,
    form: str,
    estimate: stats.Estimate,
    settings: Measure,
    verdict: stats.Verdict,
    notes: Sequence[str],
) -> Row:
    why = " ".join([verdict.why, *(f"{note[0].upper()}{note[1:]}." for note in notes)])
    return {
        **key._asdict(),
        "comparison": comparison,
        "form": form,
        "runs": estimate.runs,
        "estimate": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "p": estimate.p,
        "margin": settings.equivalence_margin[form],
        "leave_one_out_low": estimate.leave_one_out[0],
        "leave_one_out_high": estimate.leave_one_out[1],
        "verdict": verdict.name,
        "why": why,
    }
