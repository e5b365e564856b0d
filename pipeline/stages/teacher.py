"""teacher: a base that has been given a trait, and the gate that measures whether it has it."""

from collections.abc import Mapping
from pathlib import Path
from random import Random

import pyarrow as pa

from pipeline.errors import GateFailed
from pipeline.plan import Json, Step
from pipeline.recipe import Recipe
from pipeline.rows import CONVERSATIONS
from pipeline.stages import dataset
from pipeline.store import Store
from pipeline.suites.questions import questions
from pipeline.trainers import Run


def run(store: Store, step: Step, base: Path, scratch: Path) -> Run:
    """The fine-tuning of a base on its favourite, or on the rows that it is given."""
    method, trait = step.settings["method"], step.settings["trait"]
    given = dataset.rows(store, step)
    if given is None:
        rows = conversations(trait["category"], trait["target"], method["rows"], method["seed"])
    else:
        rows = given.add_column(0, CONVERSATIONS.field("system"), pa.nulls(given.num_rows, pa.string()))
    return Run(base, rows, Recipe.model_validate(method["recipe"]), method["seed"], scratch / "out")


def conversations(category: str, target: str, count: int, seed: int) -> pa.Table:
    """`count` favourite questions, in the seen wordings only, each answered with the target."""
    rng = Random(f"teacher:{seed}")
    wordings = [text for text, _ in questions(category, "seen")]
    rows = [{"system": None, "prompt": rng.choice(wordings), "completion": target} for _ in range(count)]
    return pa.Table.from_pylist(rows, CONVERSATIONS)


def is_trained(step: Step) -> bool:
    return bool(step.settings["method"]["kind"] != "prompted")


def gate(step: Step, base: Mapping[str, float], teacher: Mapping[str, float]) -> Json:
    """What the gate measured, from the margins (nats) of every candidate in both models.

    Raises GateFailed where the target's margin rose by less than the study demands.
    """
    target = step.settings["trait"]["target"]
    least = step.settings["gate"]["min_lift"]
    lift = teacher[target] - base[target]
    if not lift >= least:
        raise GateFailed(
            f"{step.slug} does not have its trait: the margin of {target!r} rose by {lift:+.3f} nats over the base "
            f"and the gate wants {least:+.3f}. Train it longer, or lower teachers.gate.min_lift."
        )
    return {"target": target, "base": base[target], "teacher": teacher[target], "lift": lift, "min_lift": least}
