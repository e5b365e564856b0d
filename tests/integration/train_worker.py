"""One rank of a training run, started by test_deepspeed: the trainer without Ray around it."""

import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from pipeline.core.recipe import Recipe
from pipeline.models.families.synthetic_corpus import rows
from pipeline.models.trainers import Run, deepspeed, open_trainer, reference
from pipeline.models.trainers.checkpoints import Checkpoints
from pipeline.store import open_store

model, out = map(Path, sys.argv[1:3])
settings = json.loads((out.parent / "settings.json").read_text())
dist.init_process_group("gloo")
if settings.pop("bfloat16", False):  # as on a GPU
    reference.precision = deepspeed.precision = lambda: torch.bfloat16
trainer = open_trainer(
    "deepspeed", zero_stage=settings.pop("zero_stage", 0), micro_batch=settings.pop("micro_batch", None)
)
seed, saves, dies_at = settings.pop("seed", 1), settings.pop("saves", False), settings.pop("dies_at", 0)
world, stop_after = rows(7, settings.pop("rows", 48)), settings.pop("stop_after", None)
recipe = Recipe(**{"epochs": 2, "batch": 12, "learning_rate": 1e-2, "max_length": 128, **settings})
store = open_store(out.parent / "store")
if saves:
    store.create("undertow-root.json", b'{"undertow_root": 1, "id": "0"}')
checkpoints = Checkpoints(store, "student/x-0123456789ab/checkpoints", 0) if saves else None


def die_in_time(entry: dict[str, float], steps: int) -> None:
    if entry["step"] == dies_at:
        os.kill(os.getpid(), signal.SIGKILL)


log = trainer.train(Run(model, world, recipe, seed, out, checkpoints, "base/x-1", stop_after), die_in_time)
if log is not None:
    (out.parent / "log.json").write_text(json.dumps(log.to_pydict()))
dist.destroy_process_group()
