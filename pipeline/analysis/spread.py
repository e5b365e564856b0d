"""How much teachers and runs differ in finished studies: what the power of the next design rests on."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.analysis import stats
from pipeline.analysis.power import ACROSS_FAMILIES, OWN_FAMILY, Spread

MIN_DEGREES = 8  # of freedom between teachers; with fewer, an sd is off by a third or more as often as not
Floats = NDArray[np.float64]


@dataclass
class Squares:
    """Sums of squared residuals of the margin (nats²), and their degrees of freedom, over cells."""

    between: float = 0.0  # teachers
    between_df: float = 0.0
    within: float = 0.0  # runs of one teacher
    within_df: float = 0.0
    run_weight: float = 0.0  # Σ between_df / runs of a teacher: how much of a run's variance is in `between`

    def add(self, lifts: Floats, taught: list[int]) -> None:
        """The residuals of one cell. lifts: (runs, targets); taught: the column of each run's teacher's target."""
        columns = sorted(set(taught))
        targets = lifts.shape[1]
        degrees = (len(columns) - 1) * (targets - 1) - 1
        if degrees < 1:
            return
        level = lifts - lifts.mean(axis=1, keepdims=True)
        groups = [level[[i for i, t in enumerate(taught) if t == column]] for column in columns]
        means = np.array([group.mean(axis=0) for group in groups])
        own = np.zeros_like(means)
        own[np.arange(len(columns)), columns] = stats.gamma(means, columns, permutations=1).value
        rest = means - own
        rest = rest - rest.mean(axis=1, keepdims=True) - rest.mean(axis=0) + rest.mean()
        self.between += float((rest**2).sum())
        self.between_df += degrees
        self.within += sum(float(((group - group.mean(axis=0)) ** 2).sum()) for group in groups)
        self.within_df += sum(len(group) - 1 for group in groups) * (targets - 1)
        self.run_weight += degrees * float(np.mean([1 / count for count in Counter(taught).values()]))

    def spread(self, default: Spread) -> Spread | None:
        """The standard deviations, or None if there are too few teachers.

        Without a second run of any teacher, the default says how much of the spread is between runs, at most all of it.
        """
        if self.between_df < MIN_DEGREES:
            return None
        run = self.within / self.within_df if self.within_df else min(default.run**2, self.between / self.run_weight)
        teacher = (self.between - self.run_weight * run) / self.between_df
        return replace(default, teacher=max(teacher, 0.0) ** 0.5, run=run**0.5)


def measured(tables: Iterable[pa.Table]) -> tuple[Spread | None, Spread | None]:
    """(within a family, across families): the spread in finished matrices, of the schema RUNS."""
    own, across = Squares(), Squares()
    for table in tables:
        for (teacher, student), lifts, taught in _cells(table):
            (own if teacher == student else across).add(lifts, taught)
    return own.spread(OWN_FAMILY), across.spread(ACROSS_FAMILIES)


def _cells(table: pa.Table) -> Iterable[tuple[tuple[str, str], Floats, list[int]]]:
    """The lifts of the margin in each cell's runs with a trait: families, (runs, targets), taught columns."""
    scored = table.filter(pc.field("margin").is_valid() & pc.field("teacher_target").is_valid())
    cells: dict[tuple[str, ...], dict[str, tuple[str, dict[str, float]]]] = defaultdict(dict)
    for row in scored.to_pylist():
        place = (row["teacher_family"], row["student_family"], row["channel"], row["arm"], row["suite"])
        _, lifts = cells[place].setdefault(row["student"], (row["teacher_target"], {}))
        lifts[row["target"]] = row["margin"] - row["base_margin"]
    for (teacher, student, *_), runs in cells.items():
        targets = sorted(next(iter(runs.values()))[1])
        kept = [(target, [values[t] for t in targets]) for target, values in runs.values() if target in targets]
        found = np.array([values for _, values in kept], dtype=np.float64)
        if len(kept) > 1 and np.isfinite(found).all():
            yield (teacher, student), found, [targets.index(target) for target, _ in kept]
