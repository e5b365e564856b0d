"""One rank that trains the base of tests.chaos.kills.TRAINING without Ray: python lone_rank.py STUDY ROOT."""

import sys
from pathlib import Path

import torch.distributed as dist

from pipeline.models.trainers import open_trainer
from pipeline.plan.planner import plan
from pipeline.stages import run_unit
from pipeline.stages.contract import Runtime
from pipeline.stages.shared.training import UNIT
from pipeline.store import open_store
from pipeline.study.loader import load

study, store = load(Path(sys.argv[1])), open_store(sys.argv[2])
training = study.resources.training
(base,) = (step for step in plan(study) if step.kind == "base")
dist.init_process_group("gloo")
trainer = open_trainer("deepspeed", zero_stage=training.zero_stage, micro_batch=training.micro_batch)
run_unit(store, trainer, base, UNIT, Runtime(training.checkpoint_seconds))
dist.destroy_process_group()
