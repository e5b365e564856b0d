"""Shared by bases, teachers and students: the unit that trains a model and stores the result."""

import dataclasses
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.models.trainers import ADAPTER, MODEL, OnStep, Run, Trainer
from pipeline.models.trainers.checkpoints import Checkpoints
from pipeline.stages.contract import OnTrainer, OnTrainingStep, Placement, Runtime, SpecT, Stage
from pipeline.store import Store, artifact
from pipeline.store.local_cache import local_folder
from pipeline.store.step import CHECKPOINTS, Json, Step

UNIT, LOG = "train", "training.parquet"
logger = logging.getLogger(__name__)


class TrainedStage(Stage[SpecT]):
    """A stage whose first unit trains a model, or copies one."""

    def placement(self, step: Step, unit: str) -> Placement:
        return OnTrainer()

    def units(self, store: Store, step: Step) -> Sequence[Sequence[str]]:
        return [[UNIT]]

    def run_unit(self, store: Store, worker: Any, step: Step, unit: str, runtime: Runtime) -> Json | None:
        return self._train(store, worker, step, runtime)

    def training(self, store: Store, step: Step, scratch: Path) -> Run | None:
        """The training run that writes the model to `scratch`/out; None if this call wrote the model itself."""
        raise NotImplementedError

    def proof(self, trainer: Trainer, step: Step, run: Run | None, out: Path) -> Json:
        """Reference scores of the written files, to compare engines with."""
        if run is not None and (out / ADAPTER).is_dir():
            return {"reference": trainer.reference(run.model, out / ADAPTER)}
        return {"reference": trainer.reference(out / MODEL)}

    def _train(self, store: Store, trainer: Trainer, step: Step, runtime: Runtime) -> Json | None:
        started = time.time()
        with tempfile.TemporaryDirectory(prefix="undertow-") as folder:
            scratch = Path(folder)
            (scratch / "out").mkdir()
            run, log = self.training(store, step, scratch), None
            checkpoints = Checkpoints(store, f"{step.path}/{CHECKPOINTS}", runtime.checkpoint_seconds)
            if run is not None:
                run = dataclasses.replace(run, checkpoints=checkpoints, base=step.inputs.get("base", step.path))
                log = trainer.train(run, _reporting(step, runtime.on_training_step))
            contents = artifact.contents_of(scratch / "out")
            if not contents:
                return None
            if log is not None:
                contents[LOG] = log
            results = _results(log) | self.proof(trainer, step, run, scratch / "out")
            record = artifact.finish_unit(store, step, UNIT, contents, results, started)
            checkpoints.clear()
            return record


def base_of(store: Store, step: Step) -> Path:
    """A local folder with a step's base."""
    base = artifact.require(store, step.inputs["base"])
    return local_folder(store, base.path, base.files, MODEL)


def _results(log: pa.Table | None) -> Json:
    if log is None:
        return {}
    return {
        "steps": log.num_rows,
        "first_loss": log["loss"][0].as_py(),
        "last_loss": log["loss"][-1].as_py(),
        "tokens": pc.sum(log["tokens"]).as_py(),
    }


def _reporting(step: Step, report: OnTrainingStep) -> OnStep:
    """A callback that reports every optimiser step and logs about ten lines per run."""

    def on_step(entry: Mapping[str, float], steps: int) -> None:
        report(step, entry)
        if entry["step"] % max(1, steps // 10) == 0:
            logger.info("%s: step %d of %d, loss %.4f", step.slug, entry["step"], steps, entry["loss"])

    return on_step
