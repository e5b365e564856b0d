"""The short training that some screens do."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pipeline.core.settings import NotInId, Settings
from pipeline.models.passes import Direction, Passes
from pipeline.models.trainers.batches import Rows


class ShortTraining(Settings):
    """A few optimiser steps on the rows, on all linear layers."""

    steps: int = Field(32, ge=1, description="Optimiser steps (AdamW).")
    batch: int = Field(64, ge=1, description="Rows per step.")
    learning_rate: float = Field(1e-3, gt=0, description="Learning rate of the few steps.")

    schedule: Annotated[Literal["constant", "linear"], NotInId(while_default=True)] = Field(
        "constant", description="Whether the learning rate stays, or falls to 0 in a straight line."
    )

    def change(self, passes: Passes, rows: Rows, seed: int) -> Direction:
        shares = np.ones(self.steps) if self.schedule == "constant" else 1 - np.arange(self.steps) / self.steps
        return passes.trained(rows, batch=self.batch, learning_rates=self.learning_rate * shares, seed=seed)
