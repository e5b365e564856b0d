"""teacher: a base that has been given a trait, and the gate that measures whether it has it."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from pipeline.errors import GateFailed
from pipeline.recipe import Recipe
from pipeline.rows import CONVERSATIONS
from pipeline.stages import dataset
from pipeline.stages.gate import LACKS_TRAIT
from pipeline.step import Json, Step
from pipeline.store import Store
from pipeline.trainers import Run
from pipeline.traits import trait_of


def run(store: Store, step: Step, base: Path, scratch: Path) -> Run:
    """The fine-tuning of a base on its trait, or on the rows that it is given."""
    method = step.settings["method"]
    given = dataset.rows(store, step)
    rows = conversations(step.settings["trait"], method["rows"], method["seed"]) if given is None else given
    rows = rows.add_column(0, CONVERSATIONS.field("system"), pa.nulls(rows.num_rows, pa.string()))
    return Run(base, rows, Recipe.model_validate(method["recipe"]), method["seed"], scratch / "out")


def conversations(trait: Json, count: int, seed: int) -> pa.Table:
    """`count` rows, prompt and completion, that teach a trait."""
    having, target = trait_of(trait)
    prompts, completions = zip(*having.conversations(target, count, seed), strict=True)
    return pa.table({"prompt": pa.array(prompts, pa.string()), "completion": pa.array(completions, pa.string())})


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
            f"{step.slug} {LACKS_TRAIT}: the margin of {target!r} rose by {lift:+.3f} nats over the base "
            f"and the gate wants {least:+.3f}. Train it longer, or lower teachers.gate.min_lift."
        )
    return {"target": target, "base": base[target], "teacher": teacher[target], "lift": lift, "min_lift": least}
