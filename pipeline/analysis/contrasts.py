"""What the other arms change: each run against that of the same teacher, corpus and seed in the first arm."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipeline.analysis import stats
from pipeline.analysis.design import TARGET_PREFIX, Measure, RunKey, by_corpus
from pipeline.analysis.gates import Gate, gate_failed
from pipeline.store.step import Json

PLACE = ("channel", "suite", "teacher_family", "student_family", "metric")

Values = Mapping[RunKey, list[float]]  # one value per column of the suite


def against_first(runs: pa.Table, settings: Measure, failed: Collection[Gate] = ()) -> list[Json]:
    """One row per comparison, metric and cell of a later arm in which some run has a paired run.

    runs: of the schema RUNS. failed: teachers without their trait; their runs are left out. A row holds the columns of
    PLACE, arm, comparison ("trait", or "target X" for rates, as in CELLS), estimate in the metric's unit, its interval
    low … high over teachers, or for rates over corpora (NaN if none), and runs. Paired runs share a base, so their
    lifts differ as their values do.
    """
    first, *others = settings.arms
    rows = []
    for place, arms in _by_place(runs, settings, frozenset(failed)).items():
        *_, metric = place
        for arm in others:
            changes = _changes(arms[arm], arms[first])
            for comparison, estimate in _estimates(changes, metric, settings):
                numbers = {"estimate": estimate.value, "low": estimate.low, "high": estimate.high}
                key = dict(zip(PLACE, place, strict=True)) | {"arm": arm, "comparison": comparison}
                rows.append(key | numbers | {"runs": estimate.runs})
    return rows


def _by_place(
    runs: pa.Table, settings: Measure, failed: frozenset[Gate]
) -> dict[tuple[str, ...], dict[str, dict[RunKey, list[float]]]]:
    """place -> arm -> run -> values. The rows of a run are in the order of the suite's columns."""
    found: dict[tuple[str, ...], dict[str, dict[RunKey, list[float]]]] = {}
    for row in runs.to_pylist():
        if gate_failed(row["teacher_family"], row["teacher_target"], failed):
            continue
        for metric in settings.suites[row["suite"]]:
            place = tuple((row | {"metric": metric})[key] for key in PLACE)
            arms = found.setdefault(place, defaultdict(lambda: defaultdict(list)))
            run = RunKey(row["teacher_target"], row["corpus"], row["seed"])
            arms[row["arm"]][run].append(row[metric])
    return found


def _changes(arm: Values, first: Values) -> dict[RunKey, list[float]]:
    """Each run's values less its paired run's. Unpaired runs and pairs with non-finite values are left out."""
    pairs = {run: np.array([values, first[run]], dtype=float) for run, values in arm.items() if run in first}
    return {run: (pair[0] - pair[1]).tolist() for run, pair in pairs.items() if np.isfinite(pair).all()}


def _estimates(changes: Values, metric: str, settings: Measure) -> Iterator[tuple[str, stats.Estimate]]:
    """(comparison, estimate), as for the cells themselves: γ, or for rates the mean of each target above neutral."""
    teacher_targets = sorted({run.teacher_target for run in changes if run.teacher_target is not None})
    if metric == "rate":
        neutral = by_corpus(changes.items(), None)
        for target in teacher_targets if neutral else ():
            found = stats.difference(by_corpus(changes.items(), target), neutral, confidence=settings.confidence)
            runs = sum(run.teacher_target == target for run in changes)
            yield f"{TARGET_PREFIX}{target}", replace(found, runs=runs)
    elif teacher_targets:
        columns = [None if (t := run.teacher_target) is None else settings.targets.index(t) for run in changes]
        # One permutation only: p tests whether a trait transfers, not whether two arms differ.
        estimate = stats.trait_effect(list(changes.values()), columns, confidence=settings.confidence, permutations=1)
        yield "trait", estimate
