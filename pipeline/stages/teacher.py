"""base -> teacher: a base that was given a trait. Its gate checks that it shows it (pipeline.stages.gate)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from pipeline.core.lineage_graph import Node
from pipeline.core.settings import Settings
from pipeline.models.trainers import Run
from pipeline.provenance.manifests import Made, Parent
from pipeline.stages import dataset
from pipeline.stages.contract import Cost, Lookup
from pipeline.stages.shared.training import UNIT, TrainedStage, base_of
from pipeline.store import Store
from pipeline.store.artifact import Manifest
from pipeline.store.schemas import CONVERSATIONS
from pipeline.store.step import Json, Step
from pipeline.study.schema import Study
from pipeline.study.teachers import Training
from pipeline.traits import Trait


class TeacherSpec(Settings):
    """trait: with one target; None for a neutral teacher. training, trainer: None if nothing is trained."""

    trait: Trait | None
    training: Training | None
    trainer: str | None


class Teacher(TrainedStage[TeacherSpec]):
    kind = "teacher"
    schema = 2
    Spec = TeacherSpec
    inputs: ClassVar = {
        "base": "the initial model",
        dataset.ROLE: "external rows that teach the trait, if any",
    }

    def planned(self, study: Study, name: str, target: str | None, base: Step, given: Step | None) -> Step:
        """target: None for a neutral teacher. given: the data set that teaches the trait, or None."""
        training = None if target is None else study.teachers.method.training()
        spec = TeacherSpec(
            trait=None if target is None else study.trait_of(target).of(target),
            training=training,
            trainer=study.trainer if training else None,
        )
        inputs = {"base": base.path} | ({dataset.ROLE: given.path} if given else {})
        return self.step(name, spec, inputs, weights=base.path, family=base.family)

    def units(self, store: Store, step: Step) -> Sequence[Sequence[str]]:
        return [[UNIT]] if self.is_trained(step) else []

    def training(self, store: Store, step: Step, scratch: Path) -> Run:
        return training_of(store, step, base_of(store, step), scratch)

    def is_trained(self, step: Step) -> bool:
        return self.spec(step).training is not None

    def lineage(self, made: Manifest) -> Made:
        spec = self.Spec.from_identity(made.settings)
        adapts = spec.training is not None and spec.training.recipe.method == "lora"
        base = Parent("adapter_of" if adapts else "initialised_from", "base")
        if spec.trait is None:
            return Made("model", (base,))
        if spec.training is None:
            prompt = Node(f"prompt:{system_prompt(made.settings)}", "prompt")
            return Made("model", (base, Parent("prompted_by", prompt, "settings.trait")))
        taught: str | Node = dataset.ROLE
        if dataset.ROLE not in made.inputs:
            taught = Node(
                f"rows:{spec.trait.kind} {spec.trait.targets[0]}, seed {spec.training.seed}", "external source"
            )
        return Made("model", (base, Parent("trained_on", taught, "settings.training", 1.0)))

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        training = self.spec(step).training
        if training is None:
            return Cost()
        rows: float | None = training.rows
        if dataset.ROLE in step.inputs:
            rows = lookup(step.inputs[dataset.ROLE]).settings["dataset"].get("rows")
        trained = (math.nan if rows is None else rows) * training.recipe.epochs
        return Cost(trained_rows=float(trained), recipe=training.recipe.model_dump())


STAGE = Teacher()


def training_of(store: Store, step: Step, base: Path, scratch: Path) -> Run:
    """The fine-tuning of a base on rows of its trait, or on those of its data set."""
    spec = STAGE.spec(step)
    training, given = spec.training, dataset.rows(store, step)
    assert training is not None  # or there would be no such unit
    assert spec.trait is not None
    rows = given if given is not None else conversations(spec.trait, training.rows or 0, training.seed)
    rows = rows.add_column(0, CONVERSATIONS.field("system"), pa.nulls(rows.num_rows, pa.string()))
    return Run(base, rows, training.recipe, training.seed, scratch / "out")


def conversations(trait: Trait, count: int, seed: int) -> pa.Table:
    """`count` rows (prompt, completion) that teach a trait with one target."""
    prompts, completions = zip(*trait.conversations(trait.targets[0], count, seed), strict=True)
    return pa.table({"prompt": pa.array(prompts, pa.string()), "completion": pa.array(completions, pa.string())})


def system_prompt(settings: Json) -> str | None:
    """The system prompt of a teacher with these settings, or None. Its students never see it."""
    spec: TeacherSpec = TeacherSpec.from_identity(settings)
    if spec.trait is None or spec.training is not None:
        return None
    return spec.trait.system_prompt(spec.trait.targets[0])
