"""What a study will take: steps done and left, tokens, and seconds of work at the rates seen so far."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.plan import rates
from pipeline.stages import cost_of
from pipeline.stages.contract import Cost, Lookup
from pipeline.store import Store, artifact, parallel_map
from pipeline.store.step import KINDS, Step
from pipeline.study.schema import Study
from pipeline.trainers.batches import steps_of

# One core of the machine in docs/benchmarks.md on nano families, where nothing is measured yet.
NANO_STEPS_A_SECOND = 32  # optimiser steps of 32 rows
NANO_TOKENS_A_SECOND = 5_000  # through an adapter
NANO_ANSWERS_A_SECOND = 200  # of one word
NANO_ENGINE_SECONDS = 15  # to start one, with its imports
NANO_TABLE_SECONDS = 3  # a corpus, a matrix or a report


@dataclass(frozen=True)
class Row:
    """One stage. tokens: upper bound of what is left to generate.

    worker: see Cost.
    seconds: work left, over all workers; measured: whether its rate was seen under this root; elsewhere: by steps of
    other studies.
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
    """The steps of one stage that are finished under a root, and those that are not."""

    kind: str
    done: list[Step]
    left: list[Step]

    @property
    def steps(self) -> list[Step]:
        return [*self.done, *self.left]


def survey(steps: Sequence[Step], store: Store) -> list[Stage]:
    """One stage a kind that has steps, in the order of the path."""
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


def forecast(study: Study, stages: Sequence[Stage], store: Store) -> list[Row]:
    """One row a stage.

    A rate comes from the study's own finished steps of the same kind; before there are any, from other studies' under
    this root that are alike; then from the nano families' reference rates; for other families it is None.
    """
    lookup = lookup_in(stages)
    return [_row(study, stage, lookup, store) for stage in stages]


def expected(
    study: Study, steps: Sequence[Step], done: Collection[str], store: Store, cpus: float, gpus: float
) -> dict[str, tuple[float, str]]:
    """Kind -> (seconds between two finished steps, what that rests on), of the stages that have a rate.

    done: paths of the steps that are finished. cpus, gpus: of the cluster. Roughly: as if its workers were never idle.
    """
    stages = [
        Stage(
            kind,
            [step for step in steps if step.kind == kind and step.path in done],
            [step for step in steps if step.kind == kind and step.path not in done],
        )
        for kind in KINDS
    ]
    rows = [row for row in forecast(study, stages, store) if row.done < row.steps]
    return {
        row.kind: (row.seconds / (row.steps - row.done) / _workers(study, row, cpus, gpus), _basis(row))
        for row in rows
        if row.seconds is not None
    }


def _basis(row: Row) -> str:
    if row.elsewhere:
        return "what other studies took under this root"
    return "what this study's steps took" if row.measured else "reference rates"


def _workers(study: Study, row: Row, cpus: float, gpus: float) -> float:
    """How many steps of a stage go on at a time."""
    engines, training = study.resources.engines, study.resources.training
    left = row.steps - row.done
    if row.worker == "task":
        return max(1.0, min(left, cpus))
    if row.worker == "trainer":
        most = min(training.groups, cpus / (training.cpus * training.workers))
        most = min(most, gpus / (training.gpus * training.workers)) if training.gpus else most
        return max(1.0, min(left, most // 1))
    most = min(engines.max_workers * len(study.families), cpus / engines.cpus)
    most = max(1.0, (min(most, gpus / engines.gpus) if engines.gpus else most) // 1)
    # An engine works on several units at once, and each of their times counts all of it.
    return most * engines.shards_in_flight if row.measured else most


def gpu_seconds(study: Study, stages: Sequence[Stage], store: Store, gpu: str) -> dict[str, float]:
    """Stage -> GPU-seconds of a step, of the stages that have finished steps on GPUs of that name."""
    engines, training = study.resources.engines, study.resources.training
    found, lookup = {}, lookup_in(stages)
    for stage in stages:
        seen = [artifact.require(store, step.path).produced for step in stage.done[: rates.SAMPLED]]
        times = [about["seconds"] for about in seen if any(gpu in name for name in about.get("machines", ()))]
        if times:
            trained = _worker(cost_of(step, lookup) for step in stage.done) == "trainer"
            # An engine works on several units at once, and each of their times counts all of it.
            share = training.workers * training.gpus if trained else engines.gpus / engines.shards_in_flight
            found[stage.kind] = share * sum(times) / len(times)
    return found


def lookup_in(stages: Sequence[Stage]) -> Lookup:
    """path -> the step of these stages."""
    return {step.path: step for stage in stages for step in stage.steps}.__getitem__


def _worker(costs: Iterable[Cost]) -> str:
    """What most of a stage takes place on: what any of its steps needs, a trainer before an engine."""
    return min((cost.worker for cost in costs), key=("trainer", "engine", "task").index, default="task")


def _row(study: Study, stage: Stage, lookup: Lookup, store: Store) -> Row:
    left, done = len(stage.left), len(stage.done)
    costs = [cost_of(step, lookup) for step in stage.left]
    tokens = sum(cost.sampled_rows * cost.sampled_tokens for cost in costs)
    return Row(stage.kind, done + left, done, tokens, _worker(costs), *_work(study, stage, lookup, store, costs))


def _work(
    study: Study, stage: Stage, lookup: Lookup, store: Store, costs: Sequence[Cost]
) -> tuple[float | None, bool, bool]:
    """Seconds of the steps that are left, whether they were measured, and whether by other studies."""
    if not stage.left:
        return 0.0, True, False
    own = rates.of_own(store, stage.done, lookup).work(stage.left, lookup)
    if own is not None:
        return own, bool(stage.done), False
    others = rates.of_others(store, stage.kind).work(stage.left, lookup)
    if others is not None:
        return others, True, True
    return _nano_seconds(study, costs), False, False


def _nano_seconds(study: Study, costs: Sequence[Cost]) -> float | None:
    """Seconds of a stage's steps at the reference rates; None where they do not hold."""
    families = study.families.values()
    if not all(family.pretraining_rows() for family in families) or study.engine == "fake":
        return None
    engines = _worker(costs) == "engine" and not any(cost.sampled_rows for cost in costs)
    return sum(_nano_seconds_of(cost) for cost in costs) + (NANO_ENGINE_SECONDS * len(families) if engines else 0)


def _nano_seconds_of(cost: Cost) -> float:
    # The candidates of a question are read off its first tokens: it takes about as long as an answer of one word.
    seconds = cost.scored / NANO_ANSWERS_A_SECOND
    if cost.trained_rows and not math.isnan(cost.trained_rows):
        epochs = cost.recipe["epochs"]
        seconds += steps_of(round(cost.trained_rows / epochs), epochs, cost.recipe["batch"]) / NANO_STEPS_A_SECOND
    if cost.sampled_rows:
        seconds += max(
            cost.sampled_rows * cost.sampled_tokens / NANO_TOKENS_A_SECOND, cost.sampled_rows / NANO_ANSWERS_A_SECOND
        )
    return seconds if cost.worker != "task" else NANO_TABLE_SECONDS
