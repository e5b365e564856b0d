"""One rank of a training run, started by test_deepspeed: the trainer without Ray around it."""

import json
import sys
from pathlib import Path

import torch.distributed as dist

from pipeline.families.world import rows
from pipeline.recipe import Recipe
from pipeline.trainers import Run, open_trainer

model, out = map(Path, sys.argv[1:3])
settings = json.loads((out.parent / "settings.json").read_text())
dist.init_process_group("gloo")
trainer = open_trainer(
    "deepspeed", zero_stage=settings.pop("zero_stage", 0), micro_batch=settings.pop("micro_batch", 64)
)
seed = settings.pop("seed", 1)
recipe = Recipe(**{"epochs": 2, "batch": 12, "learning_rate": 1e-2, "max_length": 128, **settings})
log = trainer.train(Run(model, rows(7, 48), recipe, seed, out), lambda *_: None)
if log is not None:
    (out.parent / "log.json").write_text(json.dumps(log.to_pydict()))
dist.destroy_process_group()
