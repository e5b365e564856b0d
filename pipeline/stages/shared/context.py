"""The in-context arm: rows of a corpus as earlier turns of the conversation, instead of training on them."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from pipeline.core.errors import StepError
from pipeline.core.settings import Settings
from pipeline.models.engines import Engine
from pipeline.stages.corpus import ROWS
from pipeline.stages.shared.model import ModelHandle
from pipeline.store import Store, artifact
from pipeline.store.step import Step


class InContext(Settings):
    """rows: number to show, or "all" that fit. seed: draws them."""

    rows: int | Literal["all"]
    seed: int


def shown(
    store: Store,
    step: Step,
    settings: InContext,
    engine: Engine,
    model: ModelHandle,
    questions: Sequence[str],
    max_tokens: int,
) -> ModelHandle:
    """The model with rows of the step's corpus before each question.

    settings.rows "all": as many as leave room for the longest question and its answer. max_tokens: per answer. Raises
    StepError if the requested rows do not fit.
    """
    corpus = artifact.read_table(store, artifact.require(store, step.inputs["corpus"]), ROWS, ["prompt", "completion"])
    order = np.random.default_rng(settings.seed).permutation(corpus.num_rows)
    drawn = corpus.take(order).to_pylist()
    turns = [(row["prompt"], row["completion"]) for row in drawn]
    count = _fitting(engine, model, turns, questions, max_tokens)
    wanted = count if settings.rows == "all" else settings.rows
    if wanted > count:
        raise StepError(
            f"{step.slug}: {count} rows of the corpus fit into the context of {engine.context_tokens} tokens beside "
            f"the questions, and in_context wants {wanted}; ask for fewer, or for all"
        )
    return dataclasses.replace(model, turns=tuple(turns[:wanted]))


def _fitting(
    engine: Engine, model: ModelHandle, turns: Sequence[tuple[str, str]], questions: Sequence[str], max_tokens: int
) -> int:
    """The maximum number of turns that fit before the longest question and its answer, by bisection."""
    longest = questions[int(np.argmax(engine.lengths([model.prompt(q) for q in questions])))]

    def fits(count: int) -> bool:
        asked = dataclasses.replace(model, turns=tuple(turns[:count])).prompt(longest)
        return engine.lengths([asked])[0] + max_tokens <= engine.context_tokens

    low, high = 0, len(turns)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
