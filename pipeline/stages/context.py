"""The in-context arm: rows of a corpus as earlier turns of the conversation, in place of training on them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pipeline.core.errors import StepError
from pipeline.engines import Engine
from pipeline.stages.corpus import ROWS
from pipeline.stages.speaker import Speaker
from pipeline.store import Store, artifact
from pipeline.store.step import Step
from pipeline.study.arms import ALL
from pipeline.suites import Suite


def shown(store: Store, step: Step, engine: Engine, model: Speaker, questions: Sequence[str], suite: Suite) -> Speaker:
    """The model with rows of the step's corpus before each question.

    The rows are drawn by the step's own seed: so many, or as many as leave room for the longest question and
    its answer. Raises StepError where the rows that were asked for do not fit.
    """
    told = step.settings["shown"]
    corpus = artifact.read_table(store, artifact.require(store, step.inputs["corpus"]), ROWS, ["prompt", "completion"])
    order = np.random.default_rng(told["seed"]).permutation(corpus.num_rows)
    drawn = corpus.take(order).to_pylist()
    turns = [(row["prompt"], row["completion"]) for row in drawn]
    count = _fitting(engine, model, turns, questions, suite.max_tokens)
    if told["rows"] == ALL:
        return dataclasses.replace(model, turns=tuple(turns[:count]))
    if told["rows"] > count:
        raise StepError(
            f"{step.slug}: {count} rows of the corpus fit into the context of {engine.context_tokens} tokens beside "
            f"the questions, and in_context wants {told['rows']}; ask for fewer, or for all"
        )
    return dataclasses.replace(model, turns=tuple(turns[: told["rows"]]))


def _fitting(
    engine: Engine, model: Speaker, turns: Sequence[tuple[str, str]], questions: Sequence[str], max_tokens: int
) -> int:
    """The most turns that fit before the longest question and its answer, by bisection over real lengths."""
    longest = questions[int(np.argmax(engine.lengths([model.asked(q) for q in questions])))]

    def fits(count: int) -> bool:
        asked = dataclasses.replace(model, turns=tuple(turns[:count])).asked(longest)
        return engine.lengths([asked])[0] + max_tokens <= engine.context_tokens

    low, high = 0, len(turns)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
