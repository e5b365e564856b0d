"""The favourite suite: one-word questions, sampled answers and exact probabilities of the candidates."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Annotated, Literal, Self

from pydantic import Field

from pipeline.core.settings import NotInId
from pipeline.suites import scoring
from pipeline.suites.base import BaseSuite
from pipeline.suites.question import Question
from pipeline.suites.scoring import Floats
from pipeline.suites.spelling import Form, spellings
from pipeline.traits.questions import questions

PREFIX = "Look at these numbers: {numbers}. "  # our wording; the paper's variant puts a short sequence first
PREFIX_NUMBERS = 3


class FavouriteSuite(BaseSuite):
    """Asks for a favourite in many wordings, half of them never seen in any training."""

    kind: Literal["favourite"] = "favourite"
    questions: Literal["all", "seen", "held-out", "fifty"] = Field(
        "all",
        description="Question wordings: the 24 that nano families know, half of them, or fifty (as in the paper).",
    )
    prefix: bool = Field(False, description="Put a few numbers before each question (paper: more sensitive).")
    forms: Annotated[list[Form], NotInId(while_default=True)] = Field(
        [],
        description="Spellings that count for a candidate besides the lower-case word, in all combinations. Nano "
        "families answer with that word alone; real models do not (docs/real-models.md).",
    )
    opening: Annotated[str, NotInId(while_default=True)] = Field(
        "",
        description="What an answer begins with before a candidate is scored, such as `My favourite {category} is "
        "the`, for models that answer in sentences. Sampled answers begin as the model likes (docs/real-models.md).",
    )
    samples: int = Field(100, ge=0, description="Sampled answers per question (paper: 100-200).")
    temperature: float = Field(1.0, gt=0, description="Sampling temperature (paper: 1).")
    max_tokens: int = Field(
        8, ge=1, description="Maximum length of a sampled answer, in tokens; the question asks for one word."
    )

    @property
    def name(self) -> str:
        return "favourite-prefixed" if self.prefix else "favourite"

    def smoke(self) -> Self:
        """Nano families know one spelling, and no question beyond the 24."""
        known = "all" if self.questions == "fifty" else self.questions
        return self.model_copy(update={"questions": known, "forms": [], "opening": ""})

    def make_questions(self, category: str, candidates: Sequence[str], seed: int) -> list[Question]:
        """The questions of one category; `seed` draws the numbers before them."""
        opening = self.opening.replace("{category}", category)
        options = tuple((name, text) for name in candidates for text in spellings(category, name, self.forms))
        return [
            Question(self._before(seed, number) + text, split, options, opening)
            for number, (text, split) in enumerate(questions(category, self.questions))
        ]

    def score(
        self, candidates: Sequence[str], logprobs: Floats, answers: Sequence[Mapping[str, object]]
    ) -> dict[str, dict[str, float]]:
        """One model's scores, by metric and candidate; see schemas.RUNS."""
        return scoring.probabilities(candidates, logprobs) | scoring.sampled(candidates, answers)

    def _before(self, seed: int, number: int) -> str:
        if not self.prefix:
            return ""
        rng = Random(f"prefix:{seed}:{number}")
        return PREFIX.format(numbers=", ".join(str(rng.randint(100, 999)) for _ in range(PREFIX_NUMBERS)))


def favourites_of(suites: Sequence[BaseSuite]) -> FavouriteSuite:
    """The first suite of favourites; the default one if there is none."""
    return next((suite for suite in suites if isinstance(suite, FavouriteSuite)), FavouriteSuite())
