"""student: a base fine-tuned on a corpus."""

from pathlib import Path

import pyarrow as pa

from pipeline import artifact
from pipeline.recipe import Recipe
from pipeline.rows import CONVERSATIONS
from pipeline.stages.corpus import ROWS
from pipeline.step import Step
from pipeline.store import Store
from pipeline.trainers import Run


def run(store: Store, step: Step, base: Path, scratch: Path) -> Run:
    """The training on a corpus, of which the student sees prompts and completions but no system prompt."""
    corpus = artifact.require(store, step.inputs["corpus"])
    rows = artifact.read_table(store, corpus, ROWS, ["prompt", "completion"])
    rows = rows.add_column(0, CONVERSATIONS.field("system"), pa.nulls(rows.num_rows, pa.string()))
    return Run(base, rows, Recipe.model_validate(step.settings["recipe"]), step.settings["seed"], scratch / "out")
