"""How often the analysis errs where it cannot be right: a placebo test with targets that nobody was taught.

Students of real teachers differ as they do in a study, but no teacher has the target that it is assigned, so γ is 0. An
interval that does not cover 0, or a cell that would be called transfer, is an error of the analysis.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis import stats

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ErrorRates:
    """Of one cell, shares (of 1) of the assignments.

    false_positives   the interval over teachers lies above 0 and p ≤ 1 − confidence
    coverage          0 lies inside of it
    run_…             the same with the interval over runs
    """

    assignments: int
    false_positives: float
    coverage: float
    run_false_positives: float
    run_coverage: float


def placebo_test(
    lifts: Floats,
    taught: Sequence[int],
    *,
    teachers: int = 5,
    assignments: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> ErrorRates:
    """Assign to some of a cell's teachers, again and again, targets that none of its teachers was taught.

    lifts: (runs, candidates), of one cell. taught: the candidate that each run's teacher was taught. teachers: how many
    take part in each assignment, and so how many targets. Raises ValueError if there are fewer teachers, or fewer
    candidates that nobody taught.
    """
    everyone = sorted(set(taught))
    untaught = [column for column in range(lifts.shape[1]) if column not in everyone]
    if min(len(everyone), len(untaught)) < teachers:
        raise ValueError(
            f"{teachers} teachers cannot be assigned other targets: there are {len(everyone)} teachers and "
            f"{len(untaught)} candidates that nobody taught"
        )
    rng, found = np.random.default_rng(seed), []
    for _ in range(assignments):
        chosen = rng.choice(everyone, teachers, replace=False).tolist()
        columns = rng.choice(untaught, teachers, replace=False)
        rows = [i for i, target in enumerate(taught) if target in chosen]
        assigned = [chosen.index(taught[i]) for i in rows]
        found.append(stats.trait_effect(lifts[rows][:, columns], assigned, confidence=confidence))
    alpha = 1 - confidence + 1e-12
    shown = [e.p is not None and e.p <= alpha for e in found]
    return ErrorRates(
        assignments,
        false_positives=_share(e.low > 0 and ok for e, ok in zip(found, shown, strict=True)),
        coverage=_share(e.low <= 0 <= e.high for e in found),
        run_false_positives=_share(e.run_low > 0 and ok for e, ok in zip(found, shown, strict=True)),
        run_coverage=_share(e.run_low <= 0 <= e.run_high for e in found),
    )


def _share(found: Iterable[bool]) -> float:
    return float(np.mean(list(found)))
