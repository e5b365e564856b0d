"""answers -> transfer: how much every student inherited, per run and per cell."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline.analysis import stats
from pipeline.analysis.cells import Row
from pipeline.analysis.design import METRICS, Cell, Key, Measure, MissingStudent, Run, RunKey
from pipeline.analysis.gates import Gate
from pipeline.analysis.matrix import cell_verdicts
from pipeline.core.errors import ArtifactError
from pipeline.store.schemas import CELLS, RUNS

RECORDED = (*METRICS, "substring_rate", "mass")  # per run, if the suite measures it

# {"margin" | "share" | "mention_rate" | "substring_rate" | "rate" | "mass": {candidate: value}}
Results = Mapping[str, Mapping[str, float]]
Base = tuple[str, str]  # (suite, student family)


@dataclass(frozen=True)
class StudentAnswers(Run):
    """The results of one trained run."""

    student: str  # artifact id
    results: Results


def measure(
    students: Iterable[StudentAnswers],
    bases: Mapping[Base, Results],
    settings: Measure,
    *,
    failed_gates: Collection[Gate] = (),
    missing: Sequence[MissingStudent] = (),
) -> tuple[pa.Table, pa.Table]:
    """(runs, cells), of the schemas RUNS and CELLS.

    `students` is read once, in any order; only runs × targets numbers are kept. `bases` holds the results of every
    student family's base on every suite. `failed_gates` are teachers without their trait, as (family, target), or
    (family, None) for every trait of a family: their runs stay in `runs` but not in the estimates. `why` of a cell
    names the runs that are missing or left out.
    """
    found: dict[Key, Cell] = defaultdict(Cell)
    run_rows: list[tuple[tuple[object, ...], pa.RecordBatch]] = []
    for student in students:
        key = _key(student)
        base = _base_of(student, bases)
        rows = _run_rows(student, base, settings)
        _add(found[key], student, rows)
        _add_drawn(found[key], student, base, settings)
        batch = pa.RecordBatch.from_pylist(rows, schema=RUNS)
        run_rows.append(((*settings.sort_key(key), *_run_order(_run_key(student))), batch))
    for lost in missing:
        found[_key(lost)].missing.append(lost)
    # The output must not depend on the order in which students finish.
    run_rows.sort(key=lambda pair: pair[0])
    ordered = {key: _sorted(found[key]) for key in sorted(found, key=settings.sort_key)}
    sum_to_zero = frozenset(
        key for key, base in bases.items() if _has_targets_only(base, settings.suites[key[0]], settings)
    )
    cell_rows = cell_verdicts(ordered, settings, frozenset(failed_gates), sum_to_zero)
    return (
        pa.Table.from_batches([batch for _, batch in run_rows], schema=RUNS).combine_chunks(),
        pa.Table.from_pylist(cell_rows, schema=CELLS),
    )


def _has_targets_only(base: Results, metrics: Sequence[str], settings: Measure) -> bool:
    """Whether there are no candidates besides the targets."""
    return all(set(base.get(metric, {})) <= set(settings.targets) for metric in metrics)


def _key(run: Run) -> Key:
    return Key(run.channel, run.arm, run.suite, run.teacher_family, run.student_family)


def _run_key(run: Run) -> RunKey:
    return RunKey(run.teacher_target, run.corpus, run.seed)


def _run_order(run: RunKey) -> tuple[object, ...]:
    return (run.teacher_target is None, run.teacher_target or "", run.corpus, run.seed)  # neutral runs last


def _sorted(cell: Cell) -> Cell:
    order = sorted(range(len(cell.runs)), key=lambda i: _run_order(cell.runs[i]))
    lifts = {metric: [values[i] for i in order] for metric, values in cell.lifts.items()}
    drawn = {metric: [values[i] for i in order] for metric, values in cell.drawn.items() if values}
    masses = [cell.masses[i] for i in order]
    return Cell([cell.runs[i] for i in order], lifts, drawn, masses, cell.base_mass, cell.missing)


def _base_of(student: StudentAnswers, bases: Mapping[Base, Results]) -> Results:
    base = bases.get((student.suite, student.student_family))
    if base is None:
        raise ArtifactError(
            f"student {student.student} is of family {student.student_family!r}, whose base has no answers to "
            f"{student.suite}; evaluate that base too (answers exist for {sorted(bases)})"
        )
    return base


def _run_rows(student: StudentAnswers, base: Results, settings: Measure) -> list[Row]:
    """One RUNS row per column of the suite: its targets, or what it measures instead."""
    if student.teacher_target is not None and student.teacher_target not in settings.targets:
        raise ArtifactError(
            f"student {student.student} was taught {student.teacher_target!r}, which is not among the targets "
            f"{list(settings.targets)}"
        )
    rows: list[Row] = []
    for target in settings.columns(student.suite):
        row: Row = {
            "channel": student.channel,
            "arm": student.arm,
            "suite": student.suite,
            "teacher_family": student.teacher_family,
            "student_family": student.student_family,
            "teacher_target": student.teacher_target,
            "corpus": student.corpus,
            "seed": student.seed,
            "target": target,
            "student": student.student,
        }
        for metric in settings.suites[student.suite]:
            _require(student.results, metric, target, f"student {student.student}")
            _require(base, metric, target, f"the base of {student.student_family}")
        for metric in RECORDED:
            row[metric] = student.results.get(metric, {}).get(target)
            row[f"base_{metric}"] = base.get(metric, {}).get(target)
        rows.append(row)
    return rows


def _require(results: Results, metric: str, target: str, whose: str) -> None:
    if target not in results.get(metric, {}):
        raise ArtifactError(
            f"the answers of {whose} have no {metric} of target {target!r}; add it to the suite's candidates"
        )


def _add(cell: Cell, student: StudentAnswers, rows: Sequence[Row]) -> None:
    run = _run_key(student)
    if run in cell.runs:  # counting one run twice would halve its error
        raise ArtifactError(f"two students of one cell are both {run.name}: {student.student}")
    cell.runs.append(run)
    for metric in METRICS:
        cell.lifts[metric].append([_number(row[metric]) - _number(row[f"base_{metric}"]) for row in rows])
    cell.masses.append(_least(row["mass"] for row in rows))
    cell.base_mass = _least(row["base_mass"] for row in rows)


def _add_drawn(cell: Cell, student: StudentAnswers, base: Results, settings: Measure) -> None:
    """The lifts of all candidates that the targets were drawn from, if they were; NaN where one was not measured."""
    for metric in cell.drawn if settings.drawn_from else ():
        after, before = student.results.get(metric, {}), base.get(metric, {})
        lifts = [_number(after.get(name)) - _number(before.get(name)) for name in settings.drawn_from]
        cell.drawn[metric].append(lifts)


def _least(masses: Iterable[object]) -> float:
    """The least mass over the targets' categories; NaN if none was scored."""
    return min((mass for mass in masses if isinstance(mass, float)), default=stats.NAN)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else stats.NAN
