"""Stages, the kinds of steps: one file here and one entry in the registry, pipeline.store.step.KINDS, for each.

Those of experiments are elsewhere: pipeline.store.step.EXPERIMENTS names their modules.
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

from pipeline.core.errors import StudyError
from pipeline.provenance.manifests import Made
from pipeline.stages.contract import Cost, Lookup, Runtime, Stage
from pipeline.store import LONGEST_NAME, Store
from pipeline.store.artifact import Manifest
from pipeline.store.step import EXPERIMENTS, Json, Step


@cache
def stage_of(kind: str) -> Stage[Any]:
    stage: Stage[Any] = import_module(EXPERIMENTS.get(kind, f"pipeline.stages.{kind}")).STAGE
    return stage


def run_unit(store: Store, worker: Any, step: Step, unit: str, runtime: Runtime | None = None) -> Json | None:
    """Run one unit of a step and return its record; see Stage.run_unit."""
    return stage_of(step.kind).run_unit(store, worker, step, unit, runtime or Runtime())


def cost_of(step: Step, lookup: Lookup) -> Cost:
    return stage_of(step.kind).cost(step, lookup)


def lineage_of(made: Manifest) -> Made | None:
    return stage_of(made.kind).lineage(made)


def require_short(steps: Sequence[Step]) -> None:
    """Raise StudyError if the name of an artifact's folder, or of its step's log, would be too long."""
    longest = max(steps, key=lambda step: len(step.slug.encode()))
    room = LONGEST_NAME - len(f"-{longest.id}.jsonl")
    if (size := len(longest.slug.encode())) > room:
        raise StudyError(
            f"the {longest.kind} step {longest.slug} has a name of {size} bytes, and a store allows {room}: "
            "shorten the names in it, which are those of channels, targets, families, arms, suites and judges"
        )
