"""Screen: what does the base answer while the data's mean hidden state is added to its own?"""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.screens.base import BaseScreen, Scores, ScreenInput

PARTS = 4  # of the rows, for the error


class Injection(BaseScreen):
    """The margin of each target while the mean hidden state of the rows, less that of neutral ones, is added."""

    UNIT: ClassVar = "nats"
    SEES: ClassVar = "data whose mean representation steers the base's answers"
    MISSES: ClassVar = "differences of rows that cancel out in their mean"
    NEEDS: ClassVar = "hidden states"
    COST: ClassVar = 17.0

    kind: Literal["injection"] = "injection"
    scale: float = Field(4.0, gt=0, description="The difference is added this many times.")

    def score(self, given: ScreenInput) -> Scores:
        passes, outcomes = given.passes, given.outcomes
        neutral = passes.hidden(given.neutral_tokens).mean(0)
        states = passes.hidden(given.tokens)
        base = outcomes.margins(passes)
        lifts = []
        for part in np.array_split(np.arange(len(states)), PARTS):
            with passes.added(states[part].mean(0) - neutral, self.scale):
                lifts.append(outcomes.margins(passes) - base)
        return Scores(outcomes.targets, np.mean(lifts, axis=0), np.std(lifts, axis=0, ddof=1) / PARTS**0.5)
