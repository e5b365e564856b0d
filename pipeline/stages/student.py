"""student: a base fine-tuned on a corpus."""

from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from pipeline.core.recipe import Recipe
from pipeline.core.settings import Settings
from pipeline.models.trainers import Run
from pipeline.provenance.manifests import Made, Parent
from pipeline.stages.contract import Cost, Lookup
from pipeline.stages.corpus import ROWS
from pipeline.stages.shared.training import TrainedStage, base_of
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.schemas import CONVERSATIONS
from pipeline.store.step import Step
from pipeline.study.arms import Arm
from pipeline.study.schema import Study


class StudentSpec(Settings):
    recipe: Recipe
    seed: int
    trainer: str


class Student(TrainedStage[StudentSpec]):
    kind = "student"
    schema = 2
    Spec = StudentSpec
    inputs: ClassVar = {"base": "the initial model", "corpus": "the training rows"}

    def planned(self, study: Study, arm: Arm, base: Step, corpus: Step, seed: int) -> Step:
        spec = StudentSpec(recipe=study.students.recipe(arm), seed=seed, trainer=study.trainer)
        slug = f"{corpus.slug}-to-{base.slug}-s{seed}"
        return self.step(slug, spec, {"base": base.path, "corpus": corpus.path}, family=base.slug)

    def training(self, store: Store, step: Step, scratch: Path) -> Run:
        return training_of(store, step, base_of(store, step), scratch)

    def lineage(self, made: Manifest) -> Made:
        adapts = made.settings["recipe"]["method"] == "lora"
        base = Parent("adapter_of" if adapts else "initialised_from", "base")
        return Made("model", (base, Parent("trained_on", "corpus", share=1.0)))

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        recipe = self.spec(step).recipe
        rows = lookup(step.inputs["corpus"]).settings["rows"]
        return Cost(trained_rows=float(rows * recipe.epochs), recipe=recipe.model_dump())


STAGE = Student()


def training_of(store: Store, step: Step, base: Path, scratch: Path) -> Run:
    """The training on a corpus. The student sees prompts and completions, but never the system prompt."""
    spec = STAGE.spec(step)
    corpus = artifact.require(store, step.inputs["corpus"])
    rows = artifact.read_table(store, corpus, ROWS, ["prompt", "completion"])
    rows = rows.add_column(0, CONVERSATIONS.field("system"), pa.nulls(rows.num_rows, pa.string()))
    return Run(base, rows, spec.recipe, spec.seed, scratch / "out")
