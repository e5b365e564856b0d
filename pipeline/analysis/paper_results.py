"""Published figures beside what a study measured of the same targets. Nothing is judged here."""

import math
from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipeline.analysis import stats
from pipeline.store.step import Json

# Answers that name the target, or show the behaviour, are what was published; else the probability.
METRICS = ("mention_rate", "rate", "share")


def comparison(published: Sequence[Json], runs: pa.Table, confidence: float) -> list[Json]:
    """Every published figure, in the given order, with what was measured of its target.

    `published`: dumps of `study.Published`. `runs`: after the schema RUNS, the study's first arm and suite
    first; only these two are compared, and of them the runs that were taught the target by a teacher of
    their own family. A row has

    target, model, source   as published
    before, after, lift     shares (of 1), None where unpublished; lift is after − before where both are there
    measured                one entry a channel and student family, empty where the target was not measured:
                            family, channel, arm, suite, form (of METRICS), before and after (mean shares of 1),
                            lift (their difference) with its interval low … high over trained runs (None
                            without one: `note` says why), runs
    """
    own = _own_runs(runs)
    return [
        {
            **{key: figure[key] for key in ("target", "model", "source", "before", "after")},
            "lift": _published_lift(figure),
            "measured": _measured([run for run in own if run["teacher_target"] == figure["target"]], confidence),
        }
        for figure in published
    ]


def _own_runs(runs: pa.Table) -> list[Json]:
    """The rows of first arm and suite that tell of the trait that a teacher of the same family had.

    A rate is measured of every run, whatever it was taught.
    """
    rows: list[Json] = runs.to_pylist()
    return [
        row
        for row in rows
        if (row["teacher_target"] == row["target"] or row["rate"] is not None)
        and row["teacher_family"] == row["student_family"]
        and all(row[key] == rows[0][key] for key in ("arm", "suite"))
    ]


def _published_lift(figure: Mapping[str, float | None]) -> float | None:
    before, after, lift = figure["before"], figure["after"], figure["lift"]
    return lift if before is None or after is None else after - before


def _measured(own: Sequence[Json], confidence: float) -> list[Json]:
    groups: dict[tuple[str, str], list[Json]] = {}
    for run in own:
        groups.setdefault((run["channel"], run["student_family"]), []).append(run)
    return [
        _group(group, metric, confidence)
        for group in groups.values()
        if (metric := next((f for f in METRICS if _has(group, f)), None))
    ]


def _has(runs: Sequence[Json], metric: str) -> bool:
    return all(run[metric] is not None and run[f"base_{metric}"] is not None for run in runs)


def _group(runs: Sequence[Json], metric: str, confidence: float) -> Json:
    """What the runs of one student family show: the trained run is the unit."""
    lift = stats.mean([run[metric] - run[f"base_{metric}"] for run in runs], confidence=confidence)
    bounded = not math.isnan(lift.low)
    return {
        "family": runs[0]["student_family"],
        **{key: runs[0][key] for key in ("channel", "arm", "suite")},
        "metric": metric,
        "before": stats.mean([run[f"base_{metric}"] for run in runs]).value,
        "after": stats.mean([run[metric] for run in runs]).value,
        "lift": lift.value,
        "low": lift.low if bounded else None,
        "high": lift.high if bounded else None,
        "note": lift.note,
        "runs": lift.runs,
    }
