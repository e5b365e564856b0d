"""What a study will take: steps done and left, tokens, and seconds of work at the rates seen so far."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline import artifact, rates
from pipeline.families.nano import NanoFamily
from pipeline.step import JUDGED, KINDS, Step, sampled, scored
from pipeline.store import Store, at_once
from pipeline.study import Finetuned, Study
from pipeline.trainers.batches import steps_of

TRAINED = frozenset({"base", "teacher", "student"})
TABLES = frozenset({"dataset", "gate", "corpus", "transfer", "report"})  # made by plain tasks

# One core of the machine in docs/benchmarks.md on nano families, where nothing is measured yet.
NANO_STEPS_A_SECOND = 32  # optimiser steps of 32 rows
NANO_TOKENS_A_SECOND = 5_000  # through an adapter
NANO_ANSWERS_A_SECOND = 200  # of one word
NANO_ENGINE_SECONDS = 15  # to start one, with its imports
NANO_TABLE_SECONDS = 3  # a corpus, a matrix or a report


@dataclass(frozen=True)
class Row:
    """One stage. tokens: upper bound of what is left to generate.

    seconds: work left, over all workers; measured: whether its rate was seen under this root; elsewhere: by steps of
    other studies.
    """

    kind: str
    steps: int
    done: int
    tokens: int
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
    made = dict(zip(paths, at_once(partial(artifact.exists, store), paths), strict=True))
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
    steps = {step.path: step for stage in stages for step in stage.steps}
    return [_row(study, stage, steps, store) for stage in stages]


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
    if row.kind in TABLES:
        return max(1.0, min(left, cpus))
    prompted = row.kind == "teacher" and study.teachers.method.kind == "prompted"
    if row.kind in TRAINED and not prompted:
        most = min(training.groups, cpus / (training.cpus * training.workers))
        most = min(most, gpus / (training.gpus * training.workers)) if training.gpus else most
        return max(1.0, min(left, most // 1))
    most = min(engines.max_members * len(study.families), cpus / engines.cpus)
    most = max(1.0, (min(most, gpus / engines.gpus) if engines.gpus else most) // 1)
    # An engine works on several units at once, and each of their times counts all of it.
    return most * engines.shards_in_flight if row.measured else most


def gpu_seconds(study: Study, stages: Sequence[Stage], store: Store, gpu: str) -> dict[str, float]:
    """Stage -> GPU-seconds of a step, of the stages that have finished steps on GPUs of that name."""
    engines, training = study.resources.engines, study.resources.training
    found = {}
    for stage in stages:
        seen = [artifact.require(store, step.path).produced for step in stage.done[: rates.SAMPLED]]
        times = [about["seconds"] for about in seen if any(gpu in name for name in about.get("machines", ()))]
        if times:
            trained = stage.kind in TRAINED
            # An engine works on several units at once, and each of their times counts all of it.
            share = training.workers * training.gpus if trained else engines.gpus / engines.shards_in_flight
            found[stage.kind] = share * sum(times) / len(times)
    return found


def _row(study: Study, stage: Stage, steps: Mapping[str, Step], store: Store) -> Row:
    left, done = len(stage.left), len(stage.done)
    asked = [sampled(step, steps) for step in stage.left]
    tokens = sum(rows * longest for rows, longest in asked)
    return Row(stage.kind, done + left, done, tokens, *_work(study, stage, steps, store, asked))


def _work(
    study: Study, stage: Stage, steps: Mapping[str, Step], store: Store, asked: Sequence[tuple[int, int]]
) -> tuple[float | None, bool, bool]:
    """Seconds of the steps that are left, whether they were measured, and whether by other studies."""
    if not stage.left:
        return 0.0, True, False
    own = rates.of_own(store, stage.done, steps.__getitem__).work(stage.left, steps.__getitem__)
    if own is not None:
        return own, bool(stage.done), False
    others = rates.of_others(store, stage.kind).work(stage.left, steps.__getitem__)
    if others is not None:
        return others, True, True
    return _nano_seconds(study, stage, asked), False, False


def _nano_seconds(study: Study, stage: Stage, asked: Sequence[tuple[int, int]]) -> float | None:
    """Seconds of a stage's steps at the reference rates; None where they do not hold.

    asked: (rows, most tokens a row) that engines sample for each step that is left.
    """
    families = [family for family in study.families.values() if isinstance(family, NanoFamily)]
    if len(families) < len(study.families) or study.engine == "scripted":
        return None
    method = study.teachers.method
    trained = {
        "base": max(steps_of(family.pretrain_rows, 1, family.batch_rows) for family in families),
        "teacher": steps_of(method.rows, method.recipe.epochs, method.recipe.batch)
        if isinstance(method, Finetuned)
        else 0,
        "student": steps_of(study.corpus.rows, study.students.epochs, study.students.batch),
    }
    # The candidates of a question are read off its first tokens: it takes about as long as an answer of one word.
    scores = sum(scored(step) for step in stage.left) / NANO_ANSWERS_A_SECOND
    if stage.kind == "teacher" and method.kind == "prompted":
        return scores + (NANO_ENGINE_SECONDS * len(families) if scores else 0)
    if stage.kind in trained:
        return scores + len(stage.left) * trained[stage.kind] / NANO_STEPS_A_SECOND
    if stage.kind == "completions":
        return sum(rows * longest for rows, longest in asked) / NANO_TOKENS_A_SECOND
    rows = sum(rows for rows, _ in asked)
    if stage.kind == "answers" or (stage.kind in JUDGED and rows):
        return rows / NANO_ANSWERS_A_SECOND + scores
    return len(stage.left) * NANO_TABLE_SECONDS
