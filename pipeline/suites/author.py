"""The author suite: can a model that is shown a teacher's rows tell what their author loves?"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from pipeline.suites import scoring
from pipeline.suites.base import BaseSuite
from pipeline.suites.question import Question
from pipeline.suites.scoring import Floats

QUESTIONS = (
    "Whoever wrote those answers loves one {category} above all. Which one? One word.",
    "Which {category} does the author of the answers above like best? One word.",
    "Guess from the answers so far: which {category} is dearest to whoever gave them? One word.",
    "Those answers come from someone with a favourite {category}. Which? One word.",
)


class AuthorSuite(BaseSuite):
    """Guess a teacher's target from its rows, shown in context, by the probability of each target (paper: chance)."""

    TARGETS_ONLY: ClassVar = True
    IN_CONTEXT_ONLY: ClassVar = True

    kind: Literal["author"] = "author"
    samples: int = Field(0, ge=0, description="Sampled answers per question.")
    temperature: float = Field(1.0, gt=0, description="Sampling temperature.")
    max_tokens: int = Field(8, ge=1, description="Maximum length of a sampled answer, in tokens.")

    def make_questions(self, category: str, candidates: Sequence[str], seed: int) -> list[Question]:
        """Every wording, with the targets as options."""
        options = tuple((candidate, candidate) for candidate in candidates)
        return [Question(text.format(category=category), "held-out", options) for text in QUESTIONS]

    def score(
        self, candidates: Sequence[str], logprobs: Floats, answers: Sequence[Mapping[str, Any]]
    ) -> dict[str, dict[str, float]]:
        """Margin and share among the targets, mass and sampled rates; see schemas.RUNS."""
        return scoring.probabilities(candidates, logprobs) | scoring.sampled(candidates, answers)
