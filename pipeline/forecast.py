"""What a study will take: steps done and left, tokens, and seconds of work at the rates seen so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline import artifact
from pipeline.families.nano import NanoFamily
from pipeline.step import JUDGED, KINDS, Step, sampled
from pipeline.store import Store, at_once
from pipeline.study import Finetuned, Study
from pipeline.trainers.batches import steps_of

SAMPLED = 32  # finished steps of a kind whose manifests are read for its rate

# One core of the machine in docs/benchmarks.md on nano families, where nothing is measured yet.
NANO_STEPS_A_SECOND = 32  # optimiser steps of 32 rows
NANO_TOKENS_A_SECOND = 5_000  # through an adapter
NANO_ANSWERS_A_SECOND = 200  # of one word
NANO_TABLE_SECONDS = 3  # a corpus, a matrix or a report


@dataclass(frozen=True)
class Row:
    """One stage. tokens: upper bound of what is left to generate.

    seconds: work left, over all workers; measured: whether its rate was seen under this root.
    """

    kind: str
    steps: int
    done: int
    tokens: int
    seconds: float | None
    measured: bool


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

    A rate comes from finished steps of the same kind under this root; before there are any, from the
    nano families' reference rates; for other families it is None.
    """
    steps = {step.path: step for stage in stages for step in stage.steps}
    return [_row(study, stage, steps, store) for stage in stages]


def gpu_seconds(study: Study, stages: Sequence[Stage], store: Store, gpu: str) -> dict[str, float]:
    """Stage -> GPU-seconds of a step, of the stages that have finished steps on GPUs of that name."""
    engines, training = study.resources.engines, study.resources.training
    found = {}
    for stage in stages:
        seen = [artifact.require(store, step.path).produced for step in stage.done[:SAMPLED]]
        times = [about["seconds"] for about in seen if any(gpu in name for name in about.get("machines", ()))]
        if times:
            trained = stage.kind in ("base", "teacher", "student")
            # An engine works on several units at once, and each of their times counts all of it.
            share = training.workers * training.gpus if trained else engines.gpus / engines.shards_in_flight
            found[stage.kind] = share * sum(times) / len(times)
    return found


def _row(study: Study, stage: Stage, steps: Mapping[str, Step], store: Store) -> Row:
    left, done = len(stage.left), len(stage.done)
    asked = [sampled(step, steps) for step in stage.left]
    tokens = sum(rows * longest for rows, longest in asked)
    measured = _seconds_a_step(store, stage.done[:SAMPLED])
    if measured is not None:
        return Row(stage.kind, done + left, done, tokens, left * measured, True)
    return Row(stage.kind, done + left, done, tokens, _nano_seconds(study, stage, asked), False)


def _seconds_a_step(store: Store, done: Sequence[Step]) -> float | None:
    times = [artifact.require(store, step.path).produced["seconds"] for step in done]
    return sum(times) / len(times) if times else None


def _nano_seconds(study: Study, stage: Stage, asked: Sequence[tuple[int, int]]) -> float | None:
    """Seconds of a stage's steps at the reference rates; None where they do not hold.

    asked: (rows, most tokens a row) that engines sample for each step that is left.
    """
    if not stage.left:
        return 0.0
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
    if stage.kind in trained:
        return len(stage.left) * trained[stage.kind] / NANO_STEPS_A_SECOND
    if stage.kind == "completions":
        return sum(rows * longest for rows, longest in asked) / NANO_TOKENS_A_SECOND
    rows = sum(rows for rows, _ in asked)
    if stage.kind == "answers" or (stage.kind in JUDGED and rows):
        return rows / NANO_ANSWERS_A_SECOND
    return len(stage.left) * NANO_TABLE_SECONDS
