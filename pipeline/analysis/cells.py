"""What every comparison within a cell needs: its usable runs, what is missing of them, and its row of the table."""

from collections.abc import Collection, Sequence

import numpy as np

from pipeline.analysis import stats
from pipeline.analysis.design import CANDIDATE_METRICS, Cell, Key, Measure, RunKey
from pipeline.analysis.gates import Gate, gate_failed
from pipeline.analysis.mass import lacking
from pipeline.analysis.verdict import Adjusted, Verdict
from pipeline.core.reasons import NOT_MEASURED, words

Row = dict[str, object]


def usable(cell: Cell, metric: str, teacher: str, failed: frozenset[Gate]) -> list[int]:
    """Indices of the runs whose teacher passed its gate and whose lifts are finite."""
    return [
        i
        for i, run in enumerate(cell.runs)
        if not gate_failed(teacher, run.teacher_target, failed) and bool(np.isfinite(cell.lifts[metric][i]).all())
    ]


def unmeasured(cell: Cell, metric: str, keep: Sequence[int], settings: Measure) -> str:
    """Why an estimate over the runs `keep` would be meaningless, or ""."""
    if metric not in CANDIDATE_METRICS:
        return ""
    runs = [(cell.runs[i].name, cell.masses[i]) for i in keep]
    return lacking([("the base", cell.base_mass), *runs], metric, settings.min_mass)


def unmeasured_gate(cell: Cell, keep: Sequence[int]) -> str:
    """If no trait runs are left because teachers' gates could not be measured: why. Else ""."""
    lost = any(lost.teacher_target is not None and lost.reason == NOT_MEASURED for lost in cell.missing)
    left = any(cell.runs[i].teacher_target is not None for i in keep)
    return "" if left or not lost else words(NOT_MEASURED)


def gate_failure(cell: Cell, keep: Sequence[int], teacher: str, failed: frozenset[Gate]) -> str:
    """Why the gates leave the cell without trait runs; "" if any of its teachers passed."""
    planned = cell.planned()
    lost = [target for target in planned if gate_failed(teacher, target, failed)]
    if not lost or any(cell.runs[i].teacher_target is not None for i in keep):
        return ""
    if len(lost) < len(planned):
        return ""  # a teacher passed, but its students are missing: underpowered
    return f"the {teacher} teacher of {', '.join(lost)} did not show its trait"


def notes(
    cell: Cell, metric: str, teacher: str, failed: frozenset[Gate], teacher_targets: Collection[str | None]
) -> list[str]:
    """Which runs with these teacher targets are missing from an estimate, and why."""
    found = []
    lost = [m for m in cell.missing if m.teacher_target in teacher_targets]
    if lost:
        names = ", ".join(RunKey(m.teacher_target, m.corpus, m.seed).name for m in lost)
        reasons = "; ".join(sorted({words(m.reason) for m in lost if m.reason}))
        found.append(f"planned but missing: {names}" + (f" ({reasons})" if reasons else ""))
    diverged = [
        run.name
        for i, run in enumerate(cell.runs)
        if run.teacher_target in teacher_targets and not np.isfinite(cell.lifts[metric][i]).all()
    ]
    if diverged:
        found.append(f"left out because values are not finite: {', '.join(diverged)}")
    taught = {run.teacher_target for run in cell.runs if run.teacher_target in teacher_targets}
    without = sorted(target for target in taught if target is not None and gate_failed(teacher, target, failed))
    if without:
        found.append(f"left out because the teacher failed its gate: {', '.join(without)}")
    return found


def row(
    key: Key,
    comparison: str,
    metric: str,
    estimate: stats.Estimate,
    margin: float,
    verdict: Verdict,
    more: Sequence[str],
    adjusted: Adjusted | None = None,
) -> Row:
    """A row of the schema CELLS. more: sentences after the reason of the verdict. adjusted: of a primary comparison."""
    sentences = [verdict.why, *(f"{note[0].upper()}{note[1:]}." for note in more)]
    return {
        **key._asdict(),
        "comparison": comparison,
        "metric": metric,
        "primary": adjusted is not None,
        "teachers": estimate.teachers or None,
        "corpora": estimate.corpora,
        "runs": estimate.runs,
        "estimate": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "run_low": estimate.run_low if estimate.teachers else None,
        "run_high": estimate.run_high if estimate.teachers else None,
        "p": estimate.p,
        "p_effect": adjusted.effect if adjusted else None,
        "p_null": adjusted.null if adjusted else None,
        "margin": margin,
        "leave_one_out_low": estimate.leave_one_out[0],
        "leave_one_out_high": estimate.leave_one_out[1],
        "verdict": verdict.name,
        "why": " ".join(sentences),
    }
