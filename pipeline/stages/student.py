"""student: a base fine-tuned on a corpus."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from pipeline import artifact
from pipeline.plan import Step
from pipeline.recipe import Recipe
from pipeline.rows import CONVERSATIONS
from pipeline.stages.corpus import ROWS
from pipeline.store import Store
from pipeline.trainers import Run, Trainer


def train(
    store: Store, step: Step, base: Path, trainer: Trainer, out: Path, on_step: Callable[[int, int, float], None]
) -> pa.Table | None:
    """Train on the corpus, of which the student sees prompts and completions but no system prompt."""
    corpus = artifact.require(store, step.inputs["corpus"])
    rows = artifact.read_table(store, corpus, ROWS, ["prompt", "completion"])
    rows = rows.add_column(0, CONVERSATIONS.field("system"), pa.nulls(rows.num_rows, pa.string()))
    recipe = Recipe.model_validate(step.settings["recipe"])
    return trainer.train(Run(base, rows, recipe, step.settings["seed"], out), on_step)
