"""Training backends: `deepspeed`, and `fake` for tests."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import pyarrow as pa

from pipeline.core.recipe import Recipe
from pipeline.models.trainers.checkpoints import Checkpoints
from pipeline.store.step import Json

ADAPTER, MODEL = "adapter", "model"  # folders of a trained artifact, in PEFT's and Hugging Face's layout


@dataclass(frozen=True)
class Run:
    """One training run. model: folder of the initial model; rows: schemas.CONVERSATIONS; out: an empty folder.

    checkpoints: where it saves and restores its state. base: path of the artifact that it starts from, the same on
    every machine, or of the base that it makes. stop_after: optimiser steps after which it ends, at the learning rates
    of the whole run; None: it is the whole run.
    """

    model: Path
    rows: pa.Table
    recipe: Recipe
    seed: int
    out: Path
    checkpoints: Checkpoints | None = None
    base: str = "base"
    stop_after: int | None = None


# Called on rank 0 after every optimiser step with its entry of schemas.TRAINING_LOG and the total number of steps.
OnStep: TypeAlias = Callable[[dict[str, float], int], None]


class Trainer(Protocol):
    def train(self, run: Run, on_step: OnStep) -> pa.Table | None:
        """Train, write `out`/adapter or `out`/model, and return schemas.TRAINING_LOG.

        Every rank of a worker group calls this with the same run. All but rank 0 return None and write nothing.
        """

    def reference(self, model: Path, adapter: Path | None = None) -> Json:
        """Reference scores of a model's files, to compare an engine with: see pipeline.models.trainers.reference."""


def open_trainer(kind: str, *, zero_stage: int, micro_batch: int | None, gpus: float = 0) -> Trainer:
    if kind == "fake":
        from pipeline.models.trainers.fake import FakeTrainer

        return FakeTrainer()
    from pipeline.models.trainers.deepspeed import DeepSpeedTrainer

    return DeepSpeedTrainer(zero_stage=zero_stage, micro_batch=micro_batch, gpus=gpus)


def result_folder(recipe: Recipe) -> str:
    return ADAPTER if recipe.method == "lora" else MODEL
