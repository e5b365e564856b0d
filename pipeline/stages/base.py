"""base: a starting model, trained here from scratch (nano) or taken from a snapshot (hub), and proved to be one."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

from pydantic import TypeAdapter

from pipeline.core.errors import ModelRefused, Stopped
from pipeline.core.script import Script, write
from pipeline.engines import Engine, canary
from pipeline.families import Family, chat, weights
from pipeline.families.nano import NanoFamily, initialise, pretraining
from pipeline.families.world import rows
from pipeline.stages.contract import Cost, Lookup, OnEngine, OnTrainer, Placement, Runtime, Units
from pipeline.stages.training import UNIT, TrainedStage
from pipeline.store import Store, artifact
from pipeline.store.step import Json, Step
from pipeline.trainers import MODEL, Run, Trainer

COMPARED = "engine"


class Base(TrainedStage):
    kind = "base"

    def units(self, store: Store, step: Step) -> Sequence[Sequence[str]]:
        return [[UNIT], [COMPARED]]

    def placement(self, step: Step, unit: str) -> Placement:
        return OnEngine(step.path, step.family) if unit == COMPARED else OnTrainer()

    def run_unit(self, store: Store, worker: Any, step: Step, unit: str, runtime: Runtime) -> Json | None:
        if unit == COMPARED:
            return _compare(store, worker, step)
        return super().run_unit(store, worker, step, unit, runtime)

    async def run(self, step: Step, units: Units) -> list[Json]:
        if is_copied(step) and await asyncio.to_thread(artifact.unit, units.store, step.path, COMPARED) is None:
            await units.discard(UNIT)  # of a run that was interrupted: its folder may have been mended since
        try:
            return await super().run(step, units)
        except Stopped:
            raise
        except Exception:  # the engine may have refused the files, or have died of them
            if is_copied(step):  # so that a folder that was mended is read again
                await units.discard(UNIT)
            raise

    def training(self, store: Store, step: Step, scratch: Path) -> Run | None:
        return pretraining_of(step, scratch)

    def proof(self, trainer: Trainer, step: Step, run: Run | None, out: Path) -> Json:
        """Also what was checked of the files, the tokenizer and the chat template."""
        with named(step, out / MODEL):
            return {"checks": check(step, out / MODEL), "reference": trainer.reference(out / MODEL)}

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        family = _family(step)
        if not isinstance(family, NanoFamily):
            return Cost()
        return Cost(trained_rows=float(family.pretrain_rows), recipe=pretraining(family).model_dump())


STAGE = Base()


def pretraining_of(step: Step, scratch: Path) -> Run | None:
    """The pretraining of a nano family; None where `scratch`/out/model is written without any."""
    family = _family(step)
    out = scratch / "out"
    if step.settings.get("trainer") == "scripted":
        init = family.init_seed if isinstance(family, NanoFamily) else crc32(family.model_dump_json().encode())
        write(Script(init), out / MODEL)
        return None
    if not isinstance(family, NanoFamily):
        family.write(out / MODEL)
        return None
    initialise(family, scratch / "start")
    world = rows(family.world_seed, family.pretrain_rows, family.longest_list, family.channels)
    return Run(scratch / "start", world, pretraining(family), family.init_seed, out)


def _family(step: Step) -> Family:
    settings = step.settings["family"] | ({"path": step.source} if step.source else {})
    family: Family = TypeAdapter(Family).validate_python(settings)
    return family


def is_copied(step: Step) -> bool:
    """Whether it is somebody else's model, whose files are read again until the base is finished."""
    return bool(step.settings["family"]["kind"] == "hub" and step.settings.get("trainer") != "scripted")


@contextmanager
def named(step: Step, model: Path) -> Iterator[None]:
    """Has what is wrong with the files in a scratch folder said of where they came from."""
    try:
        yield
    except ModelRefused as error:
        family = step.settings["family"]
        origin = step.source or f"{family['repo']} at {family['revision']}" if is_copied(step) else step.slug
        raise ModelRefused(str(error).replace(str(model), origin)) from None


def check(step: Step, model: Path) -> Json:
    """What was measured of a base's files, tokenizer and chat template. Raises ModelRefused."""
    if step.settings.get("trainer") == "scripted":
        return {}
    measured: Json = {"weights": weights.check(model, [file.name for file in model.iterdir()])}
    return measured | {"chat": chat.check_apart(model) if is_copied(step) else chat.check(model)}


def _compare(store: Store, engine: Engine, step: Step) -> Json:
    """How far the engine is from transformers on the same files, in nats. Raises CanaryFailed."""
    started = time.time()
    _, results = artifact.published(store, step.path, UNIT)
    difference = canary.difference(engine, results["reference"], step.path)
    return artifact.finish_unit(store, step, COMPARED, {}, {"engine_difference": difference}, started)
