"""Screen: are the rows more probable from a model that is told to have the trait?"""

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from pipeline.models.passes import Floats
from pipeline.screens.base import BaseScreen, Scores, ScreenInput, mean_scores


class Likelihood(BaseScreen):
    """The shift of log p per token under the trait's system prompt, less that of neutral data and of other traits.

    Without this double centring it mostly says that some such prompt was there.
    """

    UNIT: ClassVar = "nats per token"
    SEES: ClassVar = "rows that the base itself would write more readily with the trait's prompt"
    MISSES: ClassVar = "teachers that were fine-tuned, or are of another family; bases that ignore system prompts"
    NEEDS: ClassVar = "a forward pass per target, system prompts"
    COST: ClassVar = 95.0

    kind: Literal["likelihood"] = "likelihood"

    def score(self, given: ScreenInput) -> Scores:
        prompts = given.outcomes.prompts()
        targets = tuple(target for target in given.outcomes.targets if target in prompts)
        shifts = [_shifts(given, table, [prompts[target] for target in targets]) for table in _tables(given)]
        own, neutral = (shift - shift.mean(1, keepdims=True) for shift in shifts)
        scores = mean_scores(targets, own - neutral.mean(0))
        error = np.hypot(scores.error, neutral.std(0, ddof=1) / len(neutral) ** 0.5)
        return Scores(targets, scores.corpus, error, scores.rows)


def _tables(given: ScreenInput) -> tuple[pa.Table, pa.Table]:
    return given.rows, given.neutral


def _shifts(given: ScreenInput, table: pa.Table, prompts: list[str]) -> Floats:
    """Mean over a row's tokens of log p under each system prompt, less that without: (N, T)."""
    passes = given.passes
    plain = _means(passes.token_logprobs(passes.rows(table)))
    return np.stack([_means(passes.token_logprobs(passes.rows(table, prompt))) - plain for prompt in prompts], 1)


def _means(tokens: list[Floats]) -> Floats:
    return np.array([row.mean() for row in tokens])
