"""Stages, the kinds of steps: one file here and one entry in the registry, pipeline.store.step.KINDS, for each.

Those of experiments are elsewhere: pipeline.store.step.EXPERIMENTS names their modules.
"""

from functools import cache
from importlib import import_module
from typing import Any

from pipeline.provenance.manifests import Made
from pipeline.stages.contract import Cost, Lookup, Runtime, Stage
from pipeline.store import Store
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
