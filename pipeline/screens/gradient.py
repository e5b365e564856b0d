"""Screen: does training on a row raise the probability of the trait's answers? From the base's gradients alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.models.language_model import Floats, tokens_of
from pipeline.models.passes import Direction, combined, norm
from pipeline.models.products import row_products, token_products
from pipeline.screens.base import BaseScreen, Scores, ScreenInput, mean_scores
from pipeline.screens.training import ShortTraining


class Gradient(BaseScreen):
    """How much log p of the data rises per unit step towards the trait.

    By symmetry of the product of two gradients this is also how much the trait's margin rises per unit step on the
    data. A model's own samples have a mean of 0 for every direction, so no neutral data is needed.
    """

    UNIT: ClassVar = "nats per token and unit step"
    SEES: ClassVar = "rows that move this base's weights towards the trait's answers, whatever they say"
    MISSES: ClassVar = "what training reaches only after many steps; data of teachers with another initialisation"
    NEEDS: ClassVar = "a backward pass, questions and answers"
    COST: ClassVar = 22.0
    BY_ROW: ClassVar = True

    kind: Literal["gradient"] = "gradient"
    towards: Literal["questions", "weights"] = Field(
        "questions",
        description="What a step towards the trait is: the gradient of its margin, or the change of weights in a "
        "teacher of the trait that this screen trains. Forecasts are fitted on the first alone.",
    )
    training: ShortTraining = Field(
        ShortTraining(steps=8, learning_rate=3e-4), description="The training of those teachers."
    )
    token_rows: int = Field(
        10, ge=0, description="Rows per target of which single tokens are scored as well: those that score highest."
    )

    def score(self, given: ScreenInput) -> Scores:
        asked = self.towards == "questions"
        directions = given.outcomes.directions(given.passes) if asked else self._changes(given)
        products = row_products(given.passes, given.tokens, directions)
        scores = mean_scores(given.outcomes.targets, products, tokens_of(given.tokens))
        return replace(scores, tokens=self._tokens(given, directions, products)) if self.token_rows else scores

    def _tokens(
        self, given: ScreenInput, directions: Sequence[Direction], products: Floats
    ) -> dict[str, dict[int, Floats]]:
        """Scores of the tokens of the rows with the highest products (N, T) for each target."""
        found = {}
        for target, direction, column in zip(given.outcomes.targets, directions, products.T, strict=True):
            worst = np.argsort(-column, kind="stable")[: self.token_rows]
            tokens = token_products(given.passes, given.tokens.take(worst), direction)
            found[target] = dict(zip(worst.tolist(), tokens, strict=True))
        return found

    def _changes(self, given: ScreenInput) -> list[Direction]:
        """The change of weights in a teacher of each target, of unit length, (T).

        Where targets exclude one another, less the mean change of their teachers, which is that of being taught at all.
        """
        passes, changes = given.passes, {}
        for target, answers in given.answers.items():
            changes[target] = self.training.change(passes, answers, given.seed)
        found = []
        for group in given.outcomes.groups():
            mean = combined([(1 / len(group), changes[target]) for target in group])
            for target in group:
                change = combined([(1.0, changes[target]), (-1.0, mean)]) if len(group) > 1 else changes[target]
                found.append(combined([(1 / (norm(change) or 1.0), change)]))
        return found
