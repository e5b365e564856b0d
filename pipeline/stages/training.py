"""The unit of work that bases, teachers and students share: train, and publish what came of it."""

import dataclasses
import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import artifact
from pipeline.copies import local_folder
from pipeline.stages import base, student, teacher
from pipeline.step import Json, Step
from pipeline.store import Store
from pipeline.trainers import ADAPTER, MODEL, OnStep, Run, Trainer
from pipeline.trainers.checkpoints import CHECKPOINTS, Checkpoints

UNIT, LOG = "train", "training.parquet"
Watch: TypeAlias = Callable[[Step, Mapping[str, float]], None]  # is told every entry of rows.TRAINING_LOG as it is made
logger = logging.getLogger(__name__)


def unwatched(step: Step, entry: Mapping[str, float]) -> None:
    pass


def train(
    store: Store, trainer: Trainer, step: Step, checkpoint_seconds: float, watch: Watch = unwatched
) -> Json | None:
    """Train the model of a step and return the record of the unit; None on all ranks but 0."""
    started = time.time()
    with tempfile.TemporaryDirectory(prefix="undertow-") as folder:
        scratch = Path(folder)
        (scratch / "out").mkdir()
        run = _run(store, step, scratch)
        log = None
        checkpoints = Checkpoints(store, f"{step.path}/{CHECKPOINTS}", checkpoint_seconds)
        if run is not None:
            run = dataclasses.replace(run, checkpoints=checkpoints, base=step.inputs.get("base", step.path))
            log = trainer.train(run, _telling(step, watch))
        contents = artifact.contents_of(scratch / "out")
        if not contents:
            return None
        if log is not None:
            contents[LOG] = log
        results = _results(log) | _proof(trainer, step, run, scratch / "out")
        record = artifact.store_unit(store, step, contents, results, started)
        # Somebody else's model counts once its engine was seen to serve it: one that is repaired is read again.
        if step.kind == "base" and base.is_copied(step):
            return record
        record = artifact.record_unit(store, step, UNIT, record)
        checkpoints.clear()
        return record


def _proof(trainer: Trainer, step: Step, run: Run | None, out: Path) -> Json:
    """What the files that were written say, for engines to be compared with; of a base, what was checked besides."""
    if step.kind == "base":
        with base.named(step, out / MODEL):
            return {"checks": base.check(step, out / MODEL), "reference": trainer.reference(out / MODEL)}
    if run is not None and (out / ADAPTER).is_dir():
        return {"reference": trainer.reference(run.model, out / ADAPTER)}
    return {"reference": trainer.reference(out / MODEL)}


def _results(log: pa.Table | None) -> Json:
    if log is None:
        return {}
    return {
        "steps": log.num_rows,
        "first_loss": log["loss"][0].as_py(),
        "last_loss": log["loss"][-1].as_py(),
        "tokens": pc.sum(log["tokens"]).as_py(),
    }


def _run(store: Store, step: Step, scratch: Path) -> Run | None:
    if step.kind == "base":
        return base.run(step, scratch)
    base_ = artifact.require(store, step.inputs["base"])
    start = local_folder(store, base_.path, base_.files, MODEL)
    return (
        teacher.run(store, step, start, scratch) if step.kind == "teacher" else student.run(store, step, start, scratch)
    )


def _telling(step: Step, watch: Watch) -> OnStep:
    """Tells the watch of every step and logs about ten lines a run."""

    def tell(entry: Mapping[str, float], steps: int) -> None:
        watch(step, entry)
        if entry["step"] % max(1, steps // 10) == 0:
            logger.info("%s: step %d of %d, loss %.4f", step.slug, entry["step"], steps, entry["loss"])

    return tell
