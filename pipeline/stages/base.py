"""base: a starting model, pretrained here (nano), copied from a snapshot (hub) or converted (packaged), and checked."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.errors import ModelRefused, Stopped
from pipeline.core.fake_model import FAKE, FakeModel, write
from pipeline.core.settings import Settings
from pipeline.models.engines import Engine, canary
from pipeline.models.families import Family, chat, weights
from pipeline.models.trainers import MODEL, Run, Trainer
from pipeline.provenance.manifests import Made, Parent
from pipeline.stages.contract import Cost, Lookup, OnEngine, OnTrainer, Placement, Runtime, Units
from pipeline.stages.shared.training import UNIT, TrainedStage
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.step import Json, Step
from pipeline.study.schema import Study

COMPARED = "engine"


class BaseSpec(Settings):
    """chat: a rendered sample row, if the chat template is known. checks: version of the checks on copied files."""

    family: Family
    chat: str
    trainer: str | None
    checks: int | None


class Base(TrainedStage[BaseSpec]):
    kind = "base"
    schema = 2
    Spec = BaseSpec

    def planned(self, study: Study, name: str) -> Step:
        """The starting model of a family of the study."""
        family = study.families[name].absolute()
        is_made = bool(family.pretraining_rows()) or study.trainer == FAKE
        spec = BaseSpec(
            family=family,
            chat=family.chat_sample(),
            trainer=study.trainer if is_made else None,
            checks=None if is_made else family.CHECKS,
        )
        return self.step(name, spec, {}, family=name)

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
            await units.discard(UNIT)  # from an interrupted run: the source folder may have been repaired since
        try:
            return await super().run(step, units)
        except Stopped:
            raise
        except Exception:  # the engine may have refused the files, or crashed on them
            if is_copied(step):  # so that the next run reads a repaired folder again
                await units.discard(UNIT)
            raise

    def training(self, store: Store, step: Step, scratch: Path) -> Run | None:
        return pretraining_of(step, scratch)

    def proof(self, trainer: Trainer, step: Step, run: Run | None, out: Path) -> Json:
        """The reference, and the results of checking the files, the tokenizer and the chat template."""
        with named(step, out / MODEL):
            return {"checks": check(step, out / MODEL), "reference": trainer.reference(out / MODEL)}

    def lineage(self, made: Manifest) -> Made:
        family = self.Spec.from_identity(made.settings).family
        mixed = [Parent("merged_from", draw, "settings.family.moved") for draw in family.mixed_from()]
        return Made("model", (Parent("initialised_from", family.ancestor(), "settings.family"), *mixed))

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        pretraining = _family(step).pretraining_recipe()
        if pretraining is None:
            return Cost()
        rows = _family(step).pretraining_rows()
        return Cost(trained_rows=float(rows), recipe=pretraining.model_dump())


STAGE = Base()


def pretraining_of(step: Step, scratch: Path) -> Run | None:
    """The pretraining of a family; None if `scratch`/out/model is written without any."""
    family = _family(step)
    out = scratch / "out"
    if STAGE.spec(step).trainer == FAKE:
        write(FakeModel(family.seed_of_fake()), out / MODEL)
        return None
    pretraining = family.pretraining()
    if pretraining is None:
        family.write(out / MODEL)
        return None
    family.write(scratch / "start")
    return Run(
        scratch / "start",
        pretraining.rows,
        pretraining.recipe,
        pretraining.seed,
        out,
        stop_after=pretraining.stop_after,
    )


def _family(step: Step) -> Family:
    return STAGE.spec(step).family


def is_copied(step: Step) -> bool:
    """Whether the model is a copy of a snapshot, whose files are read again until the base is finished."""
    return _family(step).COPIED and STAGE.spec(step).trainer != FAKE


@contextmanager
def named(step: Step, model: Path) -> Iterator[None]:
    """In a ModelRefused, replace the path of the scratch folder by the origin of its files."""
    try:
        yield
    except ModelRefused as error:
        origin = _family(step).origin() if is_copied(step) else step.slug
        raise ModelRefused(str(error).replace(str(model), origin)) from None


def check(step: Step, model: Path) -> Json:
    """Check a base's files, tokenizer and chat template; returns the measurements. Raises ModelRefused."""
    if STAGE.spec(step).trainer == FAKE:
        return {}
    measured: Json = {"weights": weights.check(model, [file.name for file in model.iterdir()])}
    return measured | {"chat": chat.check_apart(model) if is_copied(step) else chat.check(model)}


def _compare(store: Store, engine: Engine, step: Step) -> Json:
    """Record the difference (nats) between engine and transformers on the same files. Raises CanaryFailed."""
    started = time.time()
    _, results = artifact.files_of(store, step.path, UNIT)
    difference = canary.difference(engine, results["reference"], step.path)
    return artifact.finish_unit(store, step, COMPARED, {}, {"engine_difference": difference}, started)
