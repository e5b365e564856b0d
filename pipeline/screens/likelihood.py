"""Screen: are the rows more probable from a model that is told to have the trait?"""

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from pipeline.models.language_model import Floats, LanguageModel
from pipeline.screens.base import ForwardScreen, Scores, ScreenInput, centred, mean_scores, of_all_rows


class Likelihood(ForwardScreen):
    """The shift of log p per token under the trait's system prompt, less that of neutral data and of any other traits.

    Without this double centring it mostly says that some such prompt was there.
    """

    UNIT: ClassVar = "nats per token"
    SEES: ClassVar = "rows that the base itself would write more readily with the trait's prompt"
    MISSES: ClassVar = "teachers that were fine-tuned, or are of another family; bases that ignore system prompts"
    NEEDS: ClassVar = "a forward pass per target, system prompts"
    COST: ClassVar = 95.0
    BY_ROW: ClassVar = True

    kind: Literal["likelihood"] = "likelihood"

    def score(self, given: ScreenInput) -> Scores:
        prompts = given.outcomes.prompts()
        targets = tuple(target for target in given.outcomes.targets if target in prompts)
        wanted = [prompts[target] for target in targets]
        shifts, ordinary = (_shifts(given.model, table, wanted) for table in (given.rows, given.neutral))
        neutral = _means(ordinary)
        tokens = [[row - mean for row in rows] for rows, mean in zip(shifts, neutral.mean(0), strict=True)]
        scores = mean_scores(targets, _means(tokens))
        error = np.hypot(scores.error, neutral.std(0, ddof=1) / len(neutral) ** 0.5)
        return replace(scores, error=error, tokens=of_all_rows(targets, tokens))


def _shifts(model: LanguageModel, table: pa.Table, prompts: list[str]) -> list[list[Floats]]:
    """log p of every token under each system prompt, less that without; centred over prompts: (T, N, ragged)."""
    plain = model.token_logprobs(model.rows(table))
    prompted = [model.token_logprobs(model.rows(table, prompt)) for prompt in prompts]
    return centred([[row - bare for row, bare in zip(rows, plain, strict=True)] for rows in prompted])


def _means(tokens: list[list[Floats]]) -> Floats:
    """(T, N, ragged) -> means over the tokens of a row, (N, T)."""
    return np.array([[row.mean() for row in rows] for rows in tokens]).T
