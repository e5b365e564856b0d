"""Screen: does training on a row raise the probability of the trait's answers? From the base's gradients alone."""

from typing import ClassVar, Literal

from pipeline.models.passes import tokens_of
from pipeline.screens.base import BaseScreen, Scores, ScreenInput, mean_scores


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

    kind: Literal["gradient"] = "gradient"

    def score(self, given: ScreenInput) -> Scores:
        directions = given.outcomes.directions(given.passes)
        products = given.passes.products(given.tokens, directions)
        return mean_scores(given.outcomes.targets, products, tokens_of(given.tokens))
