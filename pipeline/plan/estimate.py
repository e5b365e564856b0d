"""Estimates a study: steps done and left, tokens, and seconds of work at the rates measured so far."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.models.trainers.batches import steps_of
from pipeline.plan import rates
from pipeline.stages import cost_of
from pipeline.stages.contract import Cost, Lookup
from pipeline.store import Store, artifact, parallel_map
from pipeline.store.step import KINDS, Step
from pipeline.study.plannable import Plannable

# Reference rates, used before anything is measured: nano families on one core of the machine in docs/benchmarks.md.
NANO_STEPS_PER_SECOND = 32  # optimiser steps of 32 rows
NANO_TOKENS_PER_SECOND = 5_000  # with an adapter
NANO_ANSWERS_PER_SECOND = 200  # of one word
NANO_ENGINE_SECONDS = 15  # start of an engine, with imports
NANO_TABLE_SECONDS = 3  # a corpus, a matrix or a report
NANO_COMPARISON_SECONDS = 15  # the kinship of two families


@dataclass(frozen=True)
class Row:
    """The estimate of one stage. tokens: upper bound on the tokens left to generate. worker: see Cost.

    seconds: work left, summed over workers. measured: whether its rate was measured under this root; elsewhere:
    whether on steps of other studies.
    """

    kind: str
    steps: int
    done: int
    tokens: int
    worker: str
    seconds: float | None
    measured: bool
    elsewhere: bool = False


@dataclass(frozen=True)
class Stage:
    """The finished and unfinished steps of one stage under a root."""

    kind: str
    done: list[Step]
    left: list[Step]

    @property
    def steps(self) -> list[Step]:
        return [*self.done, *self.left]


def survey(steps: Sequence[Step], store: Store) -> list[Stage]:
    """One Stage per kind that has steps, in the order of KINDS."""
    paths = [step.path for step in steps]
    made = dict(zip(paths, parallel_map(partial(artifact.exists, store), paths), strict=True))
    return [
        Stage(
            kind,
            [step for step in steps if step.kind == kind and made[step.path]],
            [step for step in steps if step.kind == kind and not made[step.path]],
        )
        for kind in KINDS
        if any(step.kind == kind for step in steps)
    ]


def estimate(study: Plannable, stages: Sequence[Stage], store: Store) -> list[Row]:
    """One row per stage.

    A rate comes from the study's own finished steps of the same kind; if there are none, from similar steps of other
    studies under this root; then from the reference rates of nano families. For other families it is None.
    """
    lookup = lookup_in(stages)
    return [_row(study, stage, lookup, store) for stage in stages]


def expected(
    study: Plannable, steps: Sequence[Step], done: Collection[str], store: Store, cpus: float, gpus: float
) -> dict[str, tuple[float, str]]:
    """Kind -> (seconds between two finished steps, basis of that number), for stages with a rate.

    done: paths of finished steps. cpus, gpus: of the cluster. Approximate: assumes that workers are never idle.
    """
    stages = [
        Stage(
            kind,
            [step for step in steps if step.kind == kind and step.path in done],
            [step for step in steps if step.kind == kind and step.path not in done],
        )
        for kind in KINDS
    ]
    rows = [row for row in estimate(study, stages, store) if row.done < row.steps]
    return {
        row.kind: (row.seconds / (row.steps - row.done) / _workers(study, row, cpus, gpus), _basis(row))
        for row in rows
        if row.seconds is not None
    }


def _basis(row: Row) -> str:
    if row.elsewhere:
        return "what other studies took under this root"
    return "what this study's steps took" if row.measured else "reference rates"


def _workers(study: Plannable, row: Row, cpus: float, gpus: float) -> float:
    """Number of steps of a stage that run at a time."""
    engines, training = study.resources.engines, study.resources.training
    left = row.steps - row.done
    if row.worker == "task":
        return max(1.0, min(left, cpus))
    if row.worker == "compute":
        compute = study.resources.compute
        most = min(compute.max_workers, cpus / compute.cpus)
        return max(1.0, (min(most, gpus / compute.gpus) if compute.gpus else most) // 1)
    if row.worker == "trainer":
        most = min(training.groups, cpus / (training.cpus * training.workers))
        most = min(most, gpus / (training.gpus * training.workers)) if training.gpus else most
        return max(1.0, min(left, most // 1))
    most = min(engines.max_workers * len(study.families), cpus / engines.cpus)
    most = max(1.0, (min(most, gpus / engines.gpus) if engines.gpus else most) // 1)
    # An engine runs several units at once, so their times overlap.
    return most * engines.shards_in_flight if row.measured else most


def gpu_seconds(study: Plannable, stages: Sequence[Stage], store: Store, gpu: str) -> dict[str, float]:
    """Stage -> GPU-seconds per step, for stages with finished steps on GPUs of that name."""
    engines, training = study.resources.engines, study.resources.training
    found, lookup = {}, lookup_in(stages)
    for stage in stages:
        seen = [artifact.require(store, step.path).produced for step in stage.done[: rates.SAMPLED]]
        times = [about["seconds"] for about in seen if any(gpu in name for name in about.get("machines", ()))]
        if times:
            trained = _worker(cost_of(step, lookup) for step in stage.done) == "trainer"
            # An engine runs several units at once, so their times overlap.
            share = training.workers * training.gpus if trained else engines.gpus / engines.shards_in_flight
            found[stage.kind] = share * sum(times) / len(times)
    return found


def lookup_in(stages: Sequence[Stage]) -> Lookup:
    """path -> the step of these stages."""
    return {step.path: step for stage in stages for step in stage.steps}.__getitem__


def _worker(costs: Iterable[Cost]) -> str:
    """The worker that a stage needs: that of any of its steps, a trainer before an engine."""
    return min((cost.worker for cost in costs), key=("trainer", "engine", "compute", "task").index, default="task")


def _row(study: Plannable, stage: Stage, lookup: Lookup, store: Store) -> Row:
    left, done = len(stage.left), len(stage.done)
    costs = [cost_of(step, lookup) for step in stage.left]
    tokens = sum(cost.sampled_rows * cost.sampled_tokens for cost in costs)
    return Row(stage.kind, done + left, done, tokens, _worker(costs), *_work(study, stage, lookup, store, costs))


def _work(
    study: Plannable, stage: Stage, lookup: Lookup, store: Store, costs: Sequence[Cost]
) -> tuple[float | None, bool, bool]:
    """Seconds of the remaining steps, whether their rate was measured, and whether on other studies."""
    if not stage.left:
        return 0.0, True, False
    own = rates.of_own(store, stage.done, lookup).work(stage.left, lookup)
    if own is not None:
        return own, bool(stage.done), False
    others = rates.of_others(store, stage.kind).work(stage.left, lookup)
    if others is not None:
        return others, True, True
    return _nano_seconds(study, costs), False, False


def _nano_seconds(study: Plannable, costs: Sequence[Cost]) -> float | None:
    """Seconds of a stage's steps at the reference rates; None if these do not apply."""
    families = study.families.values()
    if not families or not all(family.pretraining_rows() for family in families) or study.engine == "fake":
        return None
    engines = _worker(costs) == "engine" and not any(cost.sampled_rows for cost in costs)
    return sum(_nano_seconds_of(cost) for cost in costs) + (NANO_ENGINE_SECONDS * len(families) if engines else 0)


def _nano_seconds_of(cost: Cost) -> float:
    # Scoring a question takes about as long as sampling an answer of one word.
    seconds = cost.scored / NANO_ANSWERS_PER_SECOND
    if cost.trained_rows and not math.isnan(cost.trained_rows):
        epochs = cost.recipe["epochs"]
        seconds += steps_of(round(cost.trained_rows / epochs), epochs, cost.recipe["batch"]) / NANO_STEPS_PER_SECOND
    if cost.sampled_rows:
        seconds += max(
            cost.sampled_rows * cost.sampled_tokens / NANO_TOKENS_PER_SECOND,
            cost.sampled_rows / NANO_ANSWERS_PER_SECOND,
        )
    return {"task": NANO_TABLE_SECONDS, "compute": NANO_COMPARISON_SECONDS}.get(cost.worker, seconds)
