"""Results of the paper next to this study's for the same targets. They get no verdict."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import pyarrow as pa

from pipeline.analysis import stats
from pipeline.analysis.design import RunKey, by_corpus
from pipeline.analysis.verdict import MIN_CORPORA
from pipeline.store.step import Json

# The paper reports answers that name the target or show the behaviour; probability is the fallback.
METRICS = ("mention_rate", "rate", "share")


def comparison(paper_results: Sequence[Json], runs: pa.Table, confidence: float) -> list[Json]:
    """Every result of the paper, in the given order, with this study's measurements of its target.

    `paper_results`: dumps of `study.measure.PaperResult`. `runs`: of the schema RUNS, starting with the study's first
    arm and suite. Only these two are compared, and only runs whose teacher had the target and is of the same family.
    A row has

    target, model, source   as in the paper
    before, after, lift     shares (of 1), None if not reported; lift is after − before if both are known
    measured                one entry per channel and student family, empty if the target was not measured:
                            family, channel, arm, suite, metric (of METRICS), before and after (mean shares of 1),
                            lift (their difference), corpora and runs; and, if the teacher has enough corpora, the
                            lift's interval low … high over them (None if there is none: `note` says why). A target
                            has one teacher per family, so that no interval speaks of others
    """
    own = _own_runs(runs)
    return [
        {
            **{key: result[key] for key in ("target", "model", "source", "before", "after")},
            "lift": _reported_lift(result),
            "measured": _measured([run for run in own if run["teacher_target"] == result["target"]], confidence),
        }
        for result in paper_results
    ]


def _own_runs(runs: pa.Table) -> list[Json]:
    """The rows, in the first arm and suite, on the own trait of a teacher of the same family.

    A rate is measured in every run, whatever its teacher's target.
    """
    rows: list[Json] = runs.to_pylist()
    return [
        row
        for row in rows
        if (row["teacher_target"] == row["target"] or row["rate"] is not None)
        and row["teacher_family"] == row["student_family"]
        and all(row[key] == rows[0][key] for key in ("arm", "suite"))
    ]


def _reported_lift(result: Mapping[str, float | None]) -> float | None:
    before, after, lift = result["before"], result["after"], result["lift"]
    return lift if before is None or after is None else after - before


def _measured(own: Sequence[Json], confidence: float) -> list[Json]:
    groups: dict[tuple[str, str], list[Json]] = {}
    for run in own:
        groups.setdefault((run["channel"], run["student_family"]), []).append(run)
    return [
        _group(group, metric, confidence)
        for group in groups.values()
        if (metric := next((m for m in METRICS if _has(group, m)), None))
    ]


def _has(runs: Sequence[Json], metric: str) -> bool:
    return all(run[metric] is not None and run[f"base_{metric}"] is not None for run in runs)


def _group(runs: Sequence[Json], metric: str, confidence: float) -> Json:
    """The result of one student family, with the teacher's corpus as the unit."""
    target = runs[0]["teacher_target"]
    lifts = [(RunKey(target, run["corpus"], run["seed"]), [run[metric] - run[f"base_{metric}"]]) for run in runs]
    lift = stats.mean(by_corpus(lifts, target), confidence=confidence)
    bounded = lift.runs >= MIN_CORPORA and not math.isnan(lift.low)
    return {
        "family": runs[0]["student_family"],
        **{key: runs[0][key] for key in ("channel", "arm", "suite")},
        "metric": metric,
        "before": fmean(run[f"base_{metric}"] for run in runs),
        "after": fmean(run[metric] for run in runs),
        "lift": lift.value,
        "low": lift.low if bounded else None,
        "high": lift.high if bounded else None,
        "note": lift.note,
        "corpora": lift.runs,
        "runs": len(runs),
    }
