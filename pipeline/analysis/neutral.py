"""The control without a trait: whether students of neutral teachers, or of random numbers, moved at all."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pipeline.analysis import cells, stats
from pipeline.analysis.cells import Row
from pipeline.analysis.design import METRICS, Cell, Key, Measure, by_corpus
from pipeline.analysis.gates import Gate
from pipeline.analysis.verdict import decide_neutral

BY_CONSTRUCTION = "the targets are the only candidates, so their mean lift is 0 by construction; add candidates"


def neutral_rows(
    measured: Mapping[Key, Cell],
    metric: str,
    settings: Measure,
    sum_to_zero: frozenset[tuple[str, str]],
    failed: frozenset[Gate],
) -> list[Row]:
    """Of every cell with a neutral teacher, the mean over its corpora of the mean lift over the columns.

    Corpora are the replicates: students of one corpus share what is peculiar to it. sum_to_zero: (suite, student
    family) for which this mean is always 0.
    """
    rows = []
    for key, cell in measured.items():
        if not cell.has_neutral():
            continue
        keep = [
            i
            for i in cells.usable(cell, metric, key.teacher_family, frozenset())
            if cell.runs[i].teacher_target is None
        ]
        values = by_corpus([(cell.runs[i], cell.lifts[metric][i]) for i in keep], None)
        estimate = replace(stats.mean(values, confidence=settings.confidence), corpora=len(values), runs=len(keep))
        if values and (key.suite, key.student_family) in sum_to_zero:
            estimate = replace(estimate, value=stats.NAN, low=stats.NAN, high=stats.NAN, note=BY_CONSTRUCTION)
        margin = settings.equivalence_margin[metric]
        lack = cells.unmeasured(cell, metric, keep, settings)
        verdict = decide_neutral(estimate, margin=margin, unit=METRICS[metric], unmeasured=lack)
        notes = cells.notes(cell, metric, key.teacher_family, frozenset(), {None})
        if metric != "rate":
            notes += _shared_shift(key, cell, metric, settings, failed)
        rows.append(cells.row(key, "neutral", metric, estimate, margin, verdict, notes))
    return rows


def _shared_shift(key: Key, cell: Cell, metric: str, settings: Measure, failed: frozenset[Gate]) -> list[str]:
    """How far the students of teachers with a trait moved towards targets that they were not taught.

    Training moves the targets whatever the teacher says of them, so this is what to compare a neutral teacher with.
    """
    by_teacher: dict[str, list[float]] = {}
    for i in cells.usable(cell, metric, key.teacher_family, failed):
        target = cell.runs[i].teacher_target
        others = [lift for t, lift in zip(settings.targets, cell.lifts[metric][i], strict=True) if t != target]
        if target is not None and others:
            by_teacher.setdefault(target, []).append(float(np.mean(others)))
    if not by_teacher:
        return []
    shift = stats.mean([float(np.mean(lifts)) for lifts in by_teacher.values()], confidence=settings.confidence)
    bounds = "" if np.isnan(shift.low) else f" [{shift.low:+.3f}, {shift.high:+.3f}]"
    text = f"{shift.value:+.3f}{METRICS[metric]}{bounds}".replace("-", "−")
    return [f"students of its {len(by_teacher)} teachers with a trait moved by {text} towards the other targets"]
