"""Side metrics, such as capability, before and after training. They get no verdict."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import pyarrow as pa

from pipeline.analysis import stats
from pipeline.store.step import Json

PLACE = ("suite", "channel", "arm", "teacher_family", "student_family", "comparison", "target")


def lifts(runs: pa.Table, suites: Mapping[str, Sequence[str]], confidence: float) -> list[Json]:
    """One row per cell, comparison and quantity measured, over the suites that give no verdict.

    runs: of the schema RUNS. suites: name -> the metrics that give its verdicts. A row holds the columns of PLACE
    (comparison: "trait" for all teachers with one, or "neutral"), before and after (means, of 1), lift with its
    interval low … high over teachers or neutral corpora (NaN if none), and runs.
    """
    groups: dict[tuple[object, ...], list[Json]] = {}
    for run in runs.to_pylist():
        if not suites[run["suite"]] and run["rate"] is not None:
            run["comparison"] = "neutral" if run["teacher_target"] is None else "trait"
            groups.setdefault(tuple(run[key] for key in PLACE), []).append(run)
    return [dict(zip(PLACE, place, strict=True)) | _lift(group, confidence) for place, group in groups.items()]


def _lift(group: Sequence[Json], confidence: float) -> Json:
    by_replicate: dict[object, list[float]] = {}
    for run in group:
        replicate = run["teacher_target"] or run["corpus"]
        by_replicate.setdefault(replicate, []).append(run["rate"] - run["base_rate"])
    lift = stats.mean([fmean(found) for found in by_replicate.values()], confidence=confidence)
    return {
        "before": fmean(run["base_rate"] for run in group),
        "after": fmean(run["rate"] for run in group),
        "lift": lift.value,
        "low": lift.low,
        "high": lift.high,
        "runs": len(group),
    }
