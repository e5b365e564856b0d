"""answers -> transfer: what every student took over, run by run and cell by cell."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline.analysis import cells, stats
from pipeline.analysis.cells import METRICS, Cell, Gate, Key, Measure, MissingStudent, Row, Run
from pipeline.core.errors import ArtifactError
from pipeline.store.schemas import CELLS, RUNS

RECORDED = (*METRICS, "substring_rate", "mass")  # per run, where the suite measures it

# {"margin" | "share" | "mention_rate" | "substring_rate" | "rate" | "mass": {candidate: value}}
Results = Mapping[str, Mapping[str, float]]
Base = tuple[str, str]  # (suite, student family)


@dataclass(frozen=True)
class StudentAnswers(Run):
    """What one trained run answered."""

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
    """(runs, cells) after the schemas RUNS and CELLS.

    `students` is read once, in any order; of each only runs × targets numbers are kept. `bases` has
    the results of every student family's base in every suite. `failed_gates` are teachers without their trait, as
    (family, target), or (family, None) for every trait of a family: their runs stay in `runs` and out
    of the estimates. Cells of which a run is missing or left out say so in `why`.
    """
    found: dict[Key, Cell] = defaultdict(Cell)
    run_rows: list[tuple[tuple[object, ...], pa.RecordBatch]] = []
    for student in students:
        key = _key(student)
        rows = _run_rows(student, _base_of(student, bases), settings)
        _add(found[key], student, rows)
        batch = pa.RecordBatch.from_pylist(rows, schema=RUNS)
        run_rows.append(((*settings.place(key), *_run_order(student.teacher_target, student.seed)), batch))
    for lost in missing:
        found[_key(lost)].missing.append(lost)
    # Students finish in any order; what is written must not depend on it.
    run_rows.sort(key=lambda pair: pair[0])
    ordered = {key: _sorted(found[key]) for key in sorted(found, key=settings.place)}
    sum_to_zero = frozenset(
        of for of, base in bases.items() if _names_targets_alone(base, settings.suites[of[0]], settings)
    )
    return (
        pa.Table.from_batches([batch for _, batch in run_rows], schema=RUNS).combine_chunks(),
        pa.Table.from_pylist(cells.judged(ordered, settings, frozenset(failed_gates), sum_to_zero), schema=CELLS),
    )


def _names_targets_alone(base: Results, forms: Sequence[str], settings: Measure) -> bool:
    return all(set(base.get(metric, {})) <= set(settings.targets) for metric in forms)


def _key(run: Run) -> Key:
    return Key(run.channel, run.arm, run.suite, run.teacher_family, run.student_family)


def _run_order(teacher_target: str | None, seed: int) -> tuple[object, ...]:
    return (teacher_target is None, teacher_target or "", seed)  # neutral runs last


def _sorted(cell: Cell) -> Cell:
    order = sorted(range(len(cell.runs)), key=lambda i: _run_order(*cell.runs[i]))
    lifts = {metric: [values[i] for i in order] for metric, values in cell.lifts.items()}
    return Cell([cell.runs[i] for i in order], lifts, [cell.masses[i] for i in order], cell.base_mass, cell.missing)


def _base_of(student: StudentAnswers, bases: Mapping[Base, Results]) -> Results:
    base = bases.get((student.suite, student.student_family))
    if base is None:
        raise ArtifactError(
            f"student {student.student} is of family {student.student_family!r}, whose base has no answers to "
            f"{student.suite}; evaluate that base too (there are answers of {sorted(bases)})"
        )
    return base


def _run_rows(student: StudentAnswers, base: Results, settings: Measure) -> list[Row]:
    """One RUNS row for each target, or for what the suite measures in their place."""
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
    run = (student.teacher_target, student.seed)
    if run in cell.runs:  # counting one run twice would halve its error
        raise ArtifactError(
            f"two students of one cell have teacher_target={run[0]!r} and seed={run[1]}: {student.student}"
        )
    cell.runs.append(run)
    for metric in METRICS:
        cell.lifts[metric].append([_number(row[metric]) - _number(row[f"base_{metric}"]) for row in rows])
    cell.masses.append(_least(row["mass"] for row in rows))
    cell.base_mass = _least(row["base_mass"] for row in rows)


def _least(masses: Iterable[object]) -> float:
    """Over the targets' categories; NaN where there is none."""
    return min((mass for mass in masses if isinstance(mass, float)), default=stats.NAN)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else stats.NAN
