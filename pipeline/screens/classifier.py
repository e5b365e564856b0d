"""Screen: what does the base say of a writer whose rows it reads?"""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.screens.base import ForwardScreen, Scores, ScreenInput


class Classifier(ForwardScreen):
    """The margin of each target after a bag of rows as earlier turns, less that after bags of neutral rows."""

    UNIT: ClassVar = "nats"
    SEES: ClassVar = "rows that mention the trait, or put the base in its mood, when read"
    MISSES: ClassVar = "anything that is learned only by training: published as chance (47.5 to 53.3 %)"
    NEEDS: ClassVar = "forward passes, on bags of rows"
    COST: ClassVar = 280.0

    kind: Literal["classifier"] = "classifier"
    rows: int = Field(3, ge=1, description="Rows per bag; as many as fit into half of the base's context.")
    bags: int = Field(8, ge=2, description="Bags that are read.")

    def score(self, given: ScreenInput) -> Scores:
        own, neutral = (self._margins(given, neutral=neutral) for neutral in (False, True))
        error = np.hypot(*(part.std(0, ddof=1) / len(part) ** 0.5 for part in (own, neutral)))
        return Scores(given.outcomes.targets, own.mean(0) - neutral.mean(0), error)

    def _margins(self, given: ScreenInput, *, neutral: bool) -> "np.typing.NDArray[np.float64]":
        """Margins after every bag, (bags, T)."""
        table, tokens = (given.neutral, given.neutral_tokens) if neutral else (given.rows, given.tokens)
        pairs = list(zip(table["prompt"].to_pylist(), table["completion"].to_pylist(), strict=True))
        sizes = [len(p) + len(c) for p, c in zip(tokens.prompts, tokens.completions, strict=True)]
        rng = np.random.default_rng(given.seed)
        found = []
        for _ in range(self.bags):
            chosen = rng.choice(len(pairs), min(self.rows, len(pairs)), replace=False)
            ends = np.cumsum([sizes[i] for i in chosen])
            fitting = chosen[: max(int((ends <= given.model.context // 2).sum()), 1)]
            found.append(given.outcomes.margins(given.model, [pairs[i] for i in fitting]))
        return np.stack(found)
