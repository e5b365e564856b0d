"""Side metrics, such as capability, before and after training. They get no verdict."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipeline.analysis import stats
from pipeline.store.step import Json

PLACE = ("suite", "target", "channel", "arm", "teacher_family", "student_family", "teacher_target")


def lifts(runs: pa.Table, suites: Mapping[str, Sequence[str]], confidence: float) -> list[Json]:
    """One row per cell, teacher target and quantity measured, over the suites that give no verdict.

    runs: of the schema RUNS. suites: name -> the metrics that give its verdicts. A row holds the columns of PLACE,
    before and after (means, of 1), lift with its interval low … high over runs (NaN if none), and runs.
    """
    groups: dict[tuple[object, ...], list[Json]] = {}
    for run in runs.to_pylist():
        if not suites[run["suite"]] and run["rate"] is not None:
            groups.setdefault(tuple(run[key] for key in PLACE), []).append(run)
    return [dict(zip(PLACE, place, strict=True)) | _lift(group, confidence) for place, group in groups.items()]


def _lift(group: Sequence[Json], confidence: float) -> Json:
    lift = stats.mean([run["rate"] - run["base_rate"] for run in group], confidence=confidence)
    return {
        "before": stats.mean([run["base_rate"] for run in group]).value,
        "after": stats.mean([run["rate"] for run in group]).value,
        "lift": lift.value,
        "low": lift.low,
        "high": lift.high,
        "runs": lift.runs,
    }
