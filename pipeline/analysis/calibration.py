"""How often the analysis errs where it cannot be right: a placebo test with targets that nobody was taught.

Students of real teachers differ as they do in a study, but no teacher has the target that it is assigned, so γ is 0.
An interval that does not cover 0, or a cell that would be called transfer, is an error of the analysis. A simulation of
the same design, with teachers and runs that differ as measured, says what to expect.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis import stats
from pipeline.analysis.power import Spread

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ErrorRates:
    """Shares (of 1) of the assignments in one cell, or of simulated cells.

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
    return _rates(found, confidence)


def simulate(
    spread: Spread, *, teachers: int = 5, seeds: int = 2, cells: int = 2_000, confidence: float = 0.95, seed: int = 0
) -> ErrorRates:
    """Error rates over drawn cells without an effect, whose teachers and runs differ as `spread` says (nats)."""
    rng, found = np.random.default_rng(seed), []
    taught = [teacher for teacher in range(teachers) for _ in range(seeds)]
    for _ in range(cells):
        means = rng.normal(0, spread.teacher, (teachers, teachers))
        lifts = np.repeat(means, seeds, axis=0) + rng.normal(0, spread.run, (teachers * seeds, teachers))
        found.append(stats.trait_effect(lifts, taught, confidence=confidence))
    return _rates(found, confidence)


def _rates(found: Sequence[stats.Estimate], confidence: float) -> ErrorRates:
    shown = [e.p is not None and e.p <= 1 - confidence + 1e-12 for e in found]
    return ErrorRates(
        len(found),
        false_positives=_share(e.low > 0 and ok for e, ok in zip(found, shown, strict=True)),
        coverage=_share(e.low <= 0 <= e.high for e in found),
        run_false_positives=_share(e.run_low > 0 and ok for e, ok in zip(found, shown, strict=True)),
        run_coverage=_share(e.run_low <= 0 <= e.run_high for e in found),
    )


def _share(found: Iterable[bool]) -> float:
    return float(np.mean(list(found)))
