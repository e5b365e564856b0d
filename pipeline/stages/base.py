"""base: a starting model, trained here from scratch (nano) or taken from a snapshot (hub)."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from pydantic import TypeAdapter

from pipeline.families import Family
from pipeline.families.hub import FILES, HubFamily, fetch
from pipeline.families.nano import NanoFamily, initialise, pretraining
from pipeline.families.world import rows
from pipeline.plan import Step
from pipeline.script import Script, write
from pipeline.trainers import MODEL, Run, Trainer


def train(step: Step, trainer: Trainer, out: Path, on_step: Callable[[int, int, float], None]) -> pa.Table | None:
    """Write `out`/model, a Hugging Face folder; returns the training log of a nano family."""
    family: Family = TypeAdapter(Family).validate_python(step.settings["family"])
    if isinstance(family, HubFamily):
        _copy(family, out / MODEL)
        return None
    if step.settings["trainer"] == "scripted":
        write(Script(init=family.init_seed), out / MODEL)
        return None
    return _pretrain(family, trainer, out, on_step)


def _copy(family: HubFamily, model: Path) -> None:
    source = fetch(family)
    model.mkdir(parents=True)
    for pattern in FILES:
        for file in source.glob(pattern):
            shutil.copyfile(file, model / file.name)


def _pretrain(
    family: NanoFamily, trainer: Trainer, out: Path, on_step: Callable[[int, int, float], None]
) -> pa.Table | None:
    start = out.with_name(out.name + "-start")
    initialise(family, start)
    world = rows(family.world_seed, family.pretrain_rows)
    try:
        return trainer.train(Run(start, world, pretraining(family), family.init_seed, out), on_step)
    finally:
        shutil.rmtree(start, ignore_errors=True)
