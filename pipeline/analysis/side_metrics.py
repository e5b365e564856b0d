"""What is measured beside the matrix, such as capability: before and after, never judged."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipeline.analysis import stats
from pipeline.store.step import Json

PLACE = ("suite", "target", "channel", "arm", "teacher_family", "student_family", "teacher_target")


def lifts(runs: pa.Table, suites: Mapping[str, Sequence[str]], confidence: float) -> list[Json]:
    """One row a cell, data set taught and thing measured, of the suites that no form is judged by.

    runs: after the schema RUNS. suites: name -> the forms that it is judged by. A row has what PLACE names, before
    and after (means of 1), lift with its interval low … high over runs (NaN without one), and runs.
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
