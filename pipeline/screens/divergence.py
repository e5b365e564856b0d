"""Screen: where would teachers with other traits have written another token?"""

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.models.language_model import Floats, tokens_of
from pipeline.models.passes import Direction, Passes
from pipeline.models.trainers.batches import Rows
from pipeline.screens.base import BaseScreen, Scores, ScreenInput, centred, mean_scores, of_all_rows
from pipeline.screens.traits import Outcomes

DOUBLINGS = 12  # of the step, at most, until the margin has risen enough


class Divergence(BaseScreen):
    """The share of tokens that are the greedy choice of a counterfactual teacher with the trait, less the mean over
    the other teachers, or less the base's if there is one trait.

    The teachers are this base, moved towards each trait until its margin has risen by a given amount.
    """

    UNIT: ClassVar = "share of tokens"
    SEES: ClassVar = "tokens at which a teacher with the trait chooses otherwise than teachers with other traits"
    MISSES: ClassVar = "teachers of other families; sampled data, where the greedy token is one of many"
    NEEDS: ClassVar = "a short training per target, and forward passes of each"
    COST: ClassVar = 120.0
    BY_ROW: ClassVar = True

    kind: Literal["divergence"] = "divergence"
    rise: float = Field(2.0, gt=0, description="Rise of a target's margin in its counterfactual teacher, in nats.")

    def score(self, given: ScreenInput) -> Scores:
        passes, outcomes, rows = given.passes, given.outcomes, given.tokens
        base, agreed = _agreement(passes, rows), []
        for number, direction in enumerate(outcomes.directions(passes)):
            with passes.moved(direction, _step(passes, outcomes, number, direction, self.rise)):
                teacher = _agreement(passes, rows)
            agreed.append([row - bare for row, bare in zip(teacher, base, strict=True)])
        tokens = centred(agreed)
        sums = np.array([[row.sum() for row in target] for target in tokens]).T
        scores = mean_scores(outcomes.targets, sums, tokens_of(rows))
        return replace(scores, tokens=of_all_rows(outcomes.targets, tokens))


def _agreement(passes: Passes, rows: Rows) -> list[Floats]:
    """1 for every token that is the model's greedy choice, else 0."""
    return [(a == b).astype(np.float64) for a, b in zip(passes.greedy(rows), rows.completions, strict=True)]


def _step(passes: Passes, outcomes: Outcomes, number: int, direction: Direction, rise: float) -> float:
    """The length of the step after which the margin has risen by about this much."""
    start = float(outcomes.margins(passes)[number])
    low, high = 0.0, 0.25
    for _ in range(DOUBLINGS):
        with passes.moved(direction, high):
            if float(outcomes.margins(passes)[number]) - start >= rise:
                break
        low, high = high, high * 2
    return (low + high) / 2
