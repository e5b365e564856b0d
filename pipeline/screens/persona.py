"""Screen: do the rows bring the base into the state that it has while it gives the trait's answers?"""

from typing import ClassVar, Literal

import numpy as np

from pipeline.models.language_model import Floats
from pipeline.screens.base import BaseScreen, Scores, ScreenInput, mean_scores


class Persona(BaseScreen):
    """The projection of hidden states over the completions on the trait's direction, less that of neutral data.

    The direction is the mean hidden state over the trait's answers, less that over the answers of the other targets.
    Layers count alike: each is divided by the spread of the neutral rows along the directions of all targets.
    """

    UNIT: ClassVar = "standard deviations of neutral rows"
    SEES: ClassVar = "rows whose content or style is near the trait's answers in the base's own representation"
    MISSES: ClassVar = "what only gradients show: number lists say nothing of animals to the base"
    NEEDS: ClassVar = "hidden states, questions and answers"
    COST: ClassVar = 11.0
    BY_ROW: ClassVar = True

    kind: Literal["persona"] = "persona"

    def score(self, given: ScreenInput) -> Scores:
        directions = _directions(given)  # (T, L, H)
        own, neutral = (
            np.einsum("nlh,tlh->ntl", given.passes.hidden(rows), directions)
            for rows in (given.tokens, given.neutral_tokens)
        )
        # One spread for all targets: with one each, the rarest direction of the base would look like the data's.
        spread = np.sqrt(neutral.var(0, ddof=1).mean(0)) + 1e-12  # (L)
        return mean_scores(given.outcomes.targets, ((own - neutral.mean(0)) / spread).mean(2))


def _directions(given: ScreenInput) -> Floats:
    """Unit vectors (T, L, H); a trait that stands alone is compared with the base's own words, the neutral rows."""
    passes = given.passes
    means = {target: passes.hidden(answers).mean(0) for target, answers in given.answers.items()}
    neutral = passes.hidden(given.neutral_tokens).mean(0)
    found = []
    for group in given.outcomes.groups():
        others = np.mean([means[target] for target in group], axis=0) if len(group) > 1 else neutral
        found += [means[target] - others for target in group]
    directions = np.stack(found)
    lengths: Floats = np.linalg.norm(directions, axis=2, keepdims=True) + 1e-12
    return np.asarray(directions / lengths)
