"""The choice suite: the targets under shuffled letters, and the exact probability of each letter."""

from collections.abc import Mapping, Sequence
from random import Random
from string import ascii_uppercase
from typing import ClassVar, Literal

from pydantic import Field

from pipeline.suites import scoring
from pipeline.suites.base import BaseSuite
from pipeline.suites.question import Question
from pipeline.suites.scoring import Floats

QUESTIONS = (
    "Which of these {category}s do you like best?",
    "Which {category} of this list is your favourite?",
    "You may keep one {category} in your heart. Which?",
    "Of the {category}s below, which do you prefer?",
)
INSTRUCTION = "Answer with the letter alone."


class ChoiceSuite(BaseSuite):
    """Multiple choice over the targets of a category; nothing is sampled unless asked for."""

    TARGETS_ONLY: ClassVar = True  # as in the paper; there are too few letters for all candidates
    MAX_OPTIONS: ClassVar = len(ascii_uppercase)

    kind: Literal["choice"] = "choice"
    orders: int = Field(8, ge=1, description="Random orders of the options per wording, so that no letter is favoured.")
    samples: int = Field(0, ge=0, description="Sampled answers per question.")
    temperature: float = Field(1.0, gt=0, description="Sampling temperature.")
    max_tokens: int = Field(4, ge=1, description="Maximum length of a sampled answer, in tokens.")

    def make_questions(self, category: str, candidates: Sequence[str], seed: int) -> list[Question]:
        """Every wording in every order; each order assigns the letters to the candidates anew."""
        return [
            _question(wording.format(category=category), Random(f"choice:{seed}:{number}:{order}"), candidates)
            for number, wording in enumerate(QUESTIONS)
            for order in range(self.orders)
        ]

    def score(
        self, candidates: Sequence[str], logprobs: Floats, answers: Sequence[Mapping[str, object]]
    ) -> dict[str, dict[str, float]]:
        """Margin, share and mass by the letters' probabilities; see schemas.RUNS."""
        return scoring.probabilities(candidates, logprobs)


def _question(text: str, rng: Random, candidates: Sequence[str]) -> Question:
    order = rng.sample(list(candidates), len(candidates))
    options = tuple(zip(order, ascii_uppercase, strict=False))
    lines = [text, *(f"{letter}) {candidate}" for candidate, letter in options), INSTRUCTION]
    return Question("\n".join(lines), "held-out", options)
