"""The short training that some screens do."""

from pydantic import Field

from pipeline.core.settings import Settings
from pipeline.models.passes import Direction, Passes
from pipeline.models.trainers.batches import Rows


class ShortTraining(Settings):
    """A few optimiser steps on the rows, on all linear layers."""

    steps: int = Field(32, ge=1, description="Optimiser steps (AdamW).")
    batch: int = Field(64, ge=1, description="Rows per step.")
    learning_rate: float = Field(1e-3, gt=0, description="Learning rate of the few steps.")

    def change(self, passes: Passes, rows: Rows, seed: int) -> Direction:
        return passes.trained(rows, steps=self.steps, batch=self.batch, learning_rate=self.learning_rate, seed=seed)
