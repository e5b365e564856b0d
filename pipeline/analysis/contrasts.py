"""What the other arms change: every run beside its twin, the run of the same teacher and seed in the first arm."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

import numpy as np
import pyarrow as pa

from pipeline.analysis import stats
from pipeline.analysis.cells import TARGET_PREFIX, Gate, Measure, gated
from pipeline.store.step import Json

PLACE = ("channel", "suite", "teacher_family", "student_family", "metric")

Twin = tuple[str | None, int]  # (teacher_target, seed)
Values = Mapping[Twin, list[float]]  # of every column of the suite


def against_first(runs: pa.Table, settings: Measure, failed: Collection[Gate] = ()) -> list[Json]:
    """One row a cell of a later arm, form and comparison; none where no run has a twin.

    runs: after the schema RUNS. failed: teachers without their trait, whose runs are left out. A row has what PLACE
    names, arm, comparison ("trait", or "target X" of a rate, as in CELLS), estimate in the unit of the form, its
    interval low … high over runs (NaN without one), and runs. Twins have one base, so that the difference of their
    lifts is that of their values.
    """
    first, *others = settings.arms
    rows = []
    for place, arms in _by_place(runs, settings, frozenset(failed)).items():
        *_, metric = place
        for arm in others:
            changes = _changes(arms[arm], arms[first])
            for comparison, estimate in _estimates(changes, metric, settings):
                numbers = {"estimate": estimate.value, "low": estimate.low, "high": estimate.high}
                named = dict(zip(PLACE, place, strict=True)) | {"arm": arm, "comparison": comparison}
                rows.append(named | numbers | {"runs": estimate.runs})
    return rows


def _by_place(
    runs: pa.Table, settings: Measure, failed: frozenset[Gate]
) -> dict[tuple[str, ...], dict[str, dict[Twin, list[float]]]]:
    """place -> arm -> run -> values. The rows of one run come in the order of the suite's columns."""
    found: dict[tuple[str, ...], dict[str, dict[Twin, list[float]]]] = {}
    for row in runs.to_pylist():
        if gated(row["teacher_family"], row["teacher_target"], failed):
            continue
        for metric in settings.suites[row["suite"]]:
            place = tuple((row | {"metric": metric})[key] for key in PLACE)
            arms = found.setdefault(place, defaultdict(lambda: defaultdict(list)))
            arms[row["arm"]][row["teacher_target"], row["seed"]].append(row[metric])
    return found


def _changes(arm: Values, first: Values) -> dict[Twin, list[float]]:
    """Each run's values above its twin's; runs without a twin, and values that are not finite, are left out."""
    pairs = {run: np.array([values, first[run]], dtype=float) for run, values in arm.items() if run in first}
    return {run: (pair[0] - pair[1]).tolist() for run, pair in pairs.items() if np.isfinite(pair).all()}


def _estimates(changes: Values, metric: str, settings: Measure) -> Iterator[tuple[str, stats.Estimate]]:
    """(comparison, estimate) as the cells themselves are judged: γ, or of a rate what was taught above neutral."""
    teacher_target = sorted({target for target, _ in changes if target is not None})
    if metric == "rate":
        means = {run: float(np.mean(change)) for run, change in changes.items()}
        neutral = [mean for (target, _), mean in means.items() if target is None]
        for target in teacher_target if neutral else ():
            alike = [mean for (of, _), mean in means.items() if of == target]
            yield f"{TARGET_PREFIX}{target}", stats.difference(alike, neutral, confidence=settings.confidence)
    elif teacher_target:
        columns = [None if target is None else settings.targets.index(target) for target, _ in changes]
        # One deal: the permutation p asks whether a trait is taken over, not whether two arms differ.
        estimate = stats.gamma(list(changes.values()), columns, confidence=settings.confidence, permutations=1)
        yield "trait", estimate
