"""student: a base fine-tuned on a corpus."""

from pathlib import Path

import pyarrow as pa

from pipeline.core.recipe import Recipe
from pipeline.stages.contract import Cost, Lookup
from pipeline.stages.corpus import ROWS
from pipeline.stages.training import TrainedStage, base_of
from pipeline.store import Store, artifact
from pipeline.store.schemas import CONVERSATIONS
from pipeline.store.step import Step
from pipeline.trainers import Run


class Student(TrainedStage):
    kind = "student"

    def training(self, store: Store, step: Step, scratch: Path) -> Run:
        return training_of(store, step, base_of(store, step), scratch)

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        recipe = step.settings["recipe"]
        rows = lookup(step.inputs["corpus"]).settings["rows"]
        return Cost(trained_rows=float(rows * recipe["epochs"]), recipe=recipe)


STAGE = Student()


def training_of(store: Store, step: Step, base: Path, scratch: Path) -> Run:
    """The training on a corpus, of which the student sees prompts and completions but no system prompt."""
    corpus = artifact.require(store, step.inputs["corpus"])
    rows = artifact.read_table(store, corpus, ROWS, ["prompt", "completion"])
    rows = rows.add_column(0, CONVERSATIONS.field("system"), pa.nulls(rows.num_rows, pa.string()))
    return Run(base, rows, Recipe.model_validate(step.settings["recipe"]), step.settings["seed"], scratch / "out")
