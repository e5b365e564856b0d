"""Screen: which rows would have taught the base the trait's answers? By influence, with the library bergson."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from pipeline.models.influence import inverse_roots, row_gradients, whitened
from pipeline.screens.base import BaseScreen, Scores, ScreenInput, mean_scores

if TYPE_CHECKING:
    from pipeline.models.influence import Gradients


class Attribution(BaseScreen):
    """The cosine of each row's gradient with that of the trait's answers, both whitened, less that of neutral rows.

    After TrackStar (arXiv 2410.17413): gradients are projected layer by layer and multiplied by the inverse root of
    their second moment over all rows, so that directions that every row has count little.
    """

    UNIT: ClassVar = "cosine"
    SEES: ClassVar = "rows whose gradients point towards the trait's answers, whatever most rows have in common"
    MISSES: ClassVar = "what training reaches only after many steps; data of teachers with another initialisation"
    NEEDS: ClassVar = "the extra `attribution`, a backward pass, questions and answers"
    COST: ClassVar = 80.0
    EXTRA: ClassVar = "attribution"

    kind: Literal["attribution"] = "attribution"
    dimension: int = Field(16, ge=1, description="Inputs and outputs of each layer are projected to this many values.")
    damping: float = Field(0.1, gt=0, description="Added to the eigenvalues of the second moment, in means of them.")

    def score(self, given: ScreenInput) -> Scores:
        own, neutral = (
            row_gradients(given.passes, rows, self.dimension) for rows in (given.tokens, given.neutral_tokens)
        )
        roots = inverse_roots([own, neutral], self.damping)
        answers = whitened(self._answers(given), roots)
        found, reference = (whitened(rows, roots) @ answers.T for rows in (own, neutral))
        return mean_scores(given.outcomes.targets, (found - reference.mean(0)).double().numpy())

    def _answers(self, given: ScreenInput) -> "Gradients":
        """The mean gradient over each target's answers, (T, D²); less that of all targets that exclude one another."""
        import torch

        found = [row_gradients(given.passes, answers, self.dimension) for answers in given.answers.values()]
        joined = {name: torch.stack([one[name].mean(0) for one in found]) for name in found[0]}
        start = 0
        for group in given.outcomes.groups():
            part = slice(start, start := start + len(group))
            if len(group) > 1:
                for values in joined.values():
                    values[part] -= values[part].mean(0)
        return joined
