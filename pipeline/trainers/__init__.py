"""What turns rows into weights. `deepspeed` is the real one, `fake` the one for tests."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import pyarrow as pa

from pipeline.core.recipe import Recipe
from pipeline.store.step import Json
from pipeline.trainers.checkpoints import Checkpoints

ADAPTER, MODEL = "adapter", "model"  # folders that a trained artifact holds: PEFT's or Hugging Face's layout


@dataclass(frozen=True)
class Run:
    """One training run. model: the folder it starts from; rows: schemas.CONVERSATIONS; out: an empty folder.

    checkpoints: where it saves its state now and then, and looks for one to go on from. base: path of the artifact
    that it starts from, the same on every machine, or of the base that it makes.
    """

    model: Path
    rows: pa.Table
    recipe: Recipe
    seed: int
    out: Path
    checkpoints: Checkpoints | None = None
    base: str = "base"


# Called on rank 0 after every optimiser step, with its entry of schemas.TRAINING_LOG and the number of all steps.
OnStep: TypeAlias = Callable[[dict[str, float], int], None]


class Trainer(Protocol):
    def train(self, run: Run, on_step: OnStep) -> pa.Table | None:
        """Train, and write `out`/adapter or `out`/model; returns schemas.TRAINING_LOG.

        Every rank of a worker group calls this with the same run; all but rank 0 get None and write nothing.
        """

    def reference(self, model: Path, adapter: Path | None = None) -> Json:
        """What the files of a model say, for an engine to be compared with: see pipeline.trainers.reference."""


def open_trainer(kind: str, *, zero_stage: int, micro_batch: int | None, gpus: float = 0) -> Trainer:
    if kind == "fake":
        from pipeline.trainers.fake import FakeTrainer

        return FakeTrainer()
    from pipeline.trainers.deepspeed import DeepSpeedTrainer

    return DeepSpeedTrainer(zero_stage=zero_stage, micro_batch=micro_batch, gpus=gpus)


def result_folder(recipe: Recipe) -> str:
    return ADAPTER if recipe.method == "lora" else MODEL
