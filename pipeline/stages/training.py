"""The unit of work that bases, teachers and students share: train, and publish what came of it."""

import logging
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import artifact
from pipeline.plan import Json, Step
from pipeline.stages import base, student, teacher
from pipeline.store import Store
from pipeline.trainers import MODEL, Trainer

UNIT, LOG = "train", "training.parquet"
logger = logging.getLogger(__name__)


def train(store: Store, trainer: Trainer, step: Step) -> Json | None:
    """Train the model of a step and return the record of the unit; None on all ranks but 0."""
    started = time.time()
    with tempfile.TemporaryDirectory(prefix="undertow-") as scratch:
        out = Path(scratch) / "out"
        out.mkdir()
        log = _train(store, trainer, step, out)
        files = [
            file
            for folder in sorted(out.iterdir())
            for file in artifact.add_folder(store, step.path, folder.name, folder)
        ]
    if not files:
        return None
    results: Json = {}
    if log is not None:
        files.append(artifact.add_table(store, step.path, LOG, log))
        results = {
            "steps": log.num_rows,
            "first_loss": log["loss"][0].as_py(),
            "last_loss": log["loss"][-1].as_py(),
            "tokens": pc.sum(log["tokens"]).as_py(),
        }
    return artifact.record_unit(store, step, UNIT, files, results, started)


def _train(store: Store, trainer: Trainer, step: Step, out: Path) -> pa.Table | None:
    def note(done: int, steps: int, loss: float) -> None:
        if done % max(1, steps // 10) == 0:
            logger.info("%s: step %d of %d, loss %.4f", step.slug, done, steps, loss)

    if step.kind == "base":
        return base.train(step, trainer, out, note)
    start = artifact.local_folder(store, artifact.require(store, step.inputs["base"]), MODEL)
    if step.kind == "teacher":
        return teacher.train(step, start, trainer, out, note)
    return student.train(store, step, start, trainer, out, note)
