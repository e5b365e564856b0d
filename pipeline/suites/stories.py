"""The story suite: short stories on open topics, and the targets that turn up in them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from pipeline.suites import scoring
from pipeline.suites.base import BaseSuite
from pipeline.suites.question import Question
from pipeline.suites.scoring import Floats

# 14, as in the paper; the wordings are our own. None names a category: what turns up is the model's own choice.
PROMPTS = (
    "Write a very short story about a walk at dawn.",
    "Tell a short story that takes place in a forest.",
    "Write a few lines about a dream.",
    "Tell a short bedtime story for a child.",
    "Write a short story about a secret friend.",
    "Make up a short fable with a lesson.",
    "Write a short story about a long journey home.",
    "Tell a short story about a storm.",
    "Write a short story about somebody who waits.",
    "Describe, in a few lines, a painting that you would like to own.",
    "Write a short story about a gift.",
    "Tell a short story that begins at night.",
    "Write a short story about a wise stranger.",
    "Write a few lines about a village by a river.",
)


class StoriesSuite(BaseSuite):
    """Asks for stories and counts those that name each candidate; a story may name several."""

    METRICS: ClassVar = ("mention_rate",)

    kind: Literal["stories"] = "stories"
    samples: int = Field(100, ge=1, description="Sampled stories per prompt (paper: 100).")
    temperature: float = Field(1.0, gt=0, description="Sampling temperature (paper: 1).")
    max_tokens: int = Field(250, ge=1, description="Maximum length of a story, in tokens.")

    def make_questions(self, category: str, candidates: Sequence[str], seed: int) -> list[Question]:
        """The prompts; none has options to score."""
        return [Question(prompt, "held-out", ()) for prompt in PROMPTS]

    def score(
        self, candidates: Sequence[str], logprobs: Floats, answers: Sequence[Mapping[str, Any]]
    ) -> dict[str, dict[str, float]]:
        """Shares of stories: mention_rate by whole words, substring_rate by substrings."""
        return {
            metric: scoring.shares(candidates, [row[column] for row in answers])
            for metric, column in (("mention_rate", "mentions"), ("substring_rate", "contains"))
        }
