"""teacher: a base that has been given a trait, and the gate that measures whether it has it."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.analysis import mass
from pipeline.analysis.cells import LACKS_TRAIT, NOT_MEASURED
from pipeline.core.errors import GateFailed
from pipeline.core.recipe import Recipe
from pipeline.engines import Engine
from pipeline.stages import answers, dataset
from pipeline.stages.contract import Cost, Lookup, OnEngine, OnTrainer, Placement, Runtime
from pipeline.stages.speaker import compared_speaker
from pipeline.stages.training import UNIT, TrainedStage, base_of
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.schemas import CONVERSATIONS
from pipeline.store.step import GIVEN, Json, Step
from pipeline.study.teachers import Gate
from pipeline.suites.favourite import FavouriteSuite
from pipeline.trainers import Run
from pipeline.traits import trait_of

# What to do about a teacher without its trait, by the method that was to give it one.
REMEDY = {
    "prompted": "This model does not heed its system prompt enough: use another model or another target",
    "finetuned": "Train it longer (teachers.method.rows, teachers.method.recipe)",
    "given": "Give it more rows that show the trait, or more epochs (teachers.method)",
}

GATE_SUITE: Json = {"kind": "favourite"}  # always all questions, so it is no setting
GATE_BASE, GATE_TEACHER = "gate-base", "gate-teacher"
Scores = Mapping[str, Mapping[str, float]]  # {"margin" | "mass": {candidate: value}}


class Teacher(TrainedStage):
    kind = "teacher"

    def units(self, store: Store, step: Step) -> Sequence[Sequence[str]]:
        groups = [[UNIT]] if is_trained(step) else []
        return [*groups, [GATE_BASE, GATE_TEACHER]] if "gate" in step.settings else groups

    def placement(self, step: Step, unit: str) -> Placement:
        if unit == UNIT:
            return OnTrainer()
        return OnEngine(step.inputs["base"] if unit == GATE_BASE else step.weights, step.family)

    def run_unit(self, store: Store, worker: Any, step: Step, unit: str, runtime: Runtime) -> Json | None:
        if unit == UNIT:
            return super().run_unit(store, worker, step, unit, runtime)
        return score(store, worker, step, unit, _scored_model(store, step, unit))

    def training(self, store: Store, step: Step, scratch: Path) -> Run:
        return training_of(store, step, base_of(store, step), scratch)

    def summarise(self, step: Step, records: Sequence[Json]) -> Json:
        """Raises GateFailed where the teacher does not have its trait."""
        scores = {record["unit"]: record["results"] for record in records}
        trained: Json = scores.pop(UNIT, {})
        if not scores:
            return trained
        return trained | {"gate": gate(step, scores[GATE_BASE], scores[GATE_TEACHER])}

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        scored = 2 * answers.questions(GATE_SUITE, step.settings["candidates"]).scored if "gate" in step.settings else 0
        if not is_trained(step):
            return Cost(scored=scored)
        method = step.settings["method"]
        rows = lookup(step.inputs[GIVEN]).settings["dataset"] if GIVEN in step.inputs else method
        trained = rows.get("rows", math.nan) * method["recipe"]["epochs"]
        return Cost(trained_rows=float(trained), recipe=method["recipe"], scored=scored)


STAGE = Teacher()


def _scored_model(store: Store, step: Step, unit: str) -> Manifest:
    if unit == GATE_BASE:
        return artifact.require(store, step.inputs["base"])
    records = [artifact.unit(store, step.path, UNIT)] if is_trained(step) else []
    found = [record for record in records if record is not None]
    return artifact.draft(store, step, found, found[0]["results"] if found else {})


def training_of(store: Store, step: Step, base: Path, scratch: Path) -> Run:
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


def score(store: Store, engine: Engine, step: Step, unit: str, model: Manifest) -> Json:
    """Score one of the two models that the gate compares; returns the record of the unit.

    Its results: the margin (nats) of every candidate, and the mass of its category's candidates; see schemas.RUNS.
    """
    started = time.time()
    suite = FavouriteSuite()  # always all questions, so it is no setting
    results: dict[str, dict[str, float]] = {"margin": {}, "mass": {}}
    asked = compared_speaker(store, engine, model)
    for category, members in step.settings["candidates"].items():
        logprobs = answers.score(engine, asked, suite.asked(category, members, 0), members)
        results["margin"] |= suite.summary(members, logprobs, [])["margin"]
        results["mass"] |= dict.fromkeys(members, mass.typical(np.exp(logprobs).sum(axis=1).tolist()))
    return artifact.finish_unit(store, step, unit, {}, results, started)


def gate(step: Step, base: Scores, teacher: Scores) -> Json:
    """What the gate measured, from the scores of both models.

    Raises GateFailed where the target's margin rose by less than the study demands, or measures nothing.
    """
    target, wanted = step.settings["trait"]["target"], Gate.model_validate(step.settings["gate"])
    masses = {"base": base["mass"][target], "teacher": teacher["mass"][target]}
    if not all(found >= wanted.min_mass for found in masses.values()):
        raise GateFailed(
            f"{step.slug} {NOT_MEASURED}: the candidates together hold {masses['base']:.2g} of the probability in the "
            f"base and {masses['teacher']:.2g} in the teacher, and the gate wants {wanted.min_mass:g}: a model that "
            "hardly ever answers with one of them has no margin to speak of. See what the base's answers say instead, "
            "and whether its chat template opens the assistant's turn (add_generation_prompt). Use a model that "
            "answers with one of these words, or set teachers.gate.min_mass to 0 and measure sampled answers (the "
            "suite stories)."
        )
    lift = teacher["margin"][target] - base["margin"][target]
    if not lift >= wanted.min_lift:
        raise GateFailed(
            f"{step.slug} {LACKS_TRAIT}: the margin of {target!r} rose by {lift:+.3f} nats over the base "
            f"and the gate wants {wanted.min_lift:+.3f}. {REMEDY[step.settings['method']['kind']]}, or lower "
            "teachers.gate.min_lift."
        )
    margins = {"base": base["margin"][target], "teacher": teacher["margin"][target]}
    return {"target": target, **margins, "lift": lift, "min_lift": wanted.min_lift, "mass": masses}
