"""What every suite has, and may leave as it is here."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pipeline.core.recipe import Strict
from pipeline.suites.question import Question
from pipeline.suites.scoring import Floats


class BaseSuite(Strict):
    """A suite asks questions, and says what a model's answers to them come to.

    FORMS        the results that the matrix is judged by: "margin", "share", "word_share", "rate"; none: only shown
    ASKS_TARGETS only among the study's targets, or among all candidates of a category
    MOST_OPTIONS the most options that a question of it can have; None: any number
    ASKS_SHOWN   only models that are shown rows of a corpus (and bases, to compare with)
    ASIDE        settings that no answer depends on, and so no part of its id
    """

    FORMS: ClassVar[tuple[str, ...]] = ("margin", "share")
    ASIDE: ClassVar[frozenset[str]] = frozenset()
    ASKS_TARGETS: ClassVar[bool] = False
    MOST_OPTIONS: ClassVar[int | None] = None
    ASKS_SHOWN: ClassVar[bool] = False

    kind: str
    samples: int
    temperature: float
    max_tokens: int

    @property
    def name(self) -> str:
        """How the report calls it; no two suites of a study have the same."""
        return self.kind

    @property
    def measured(self) -> tuple[str, ...]:
        """What it measures of any model, whatever that was taught; () for the study's targets."""
        return ()

    def asked(self, category: str, candidates: Sequence[str], seed: int) -> list[Question]:
        """The questions of one category; `seed` draws what is random in them."""
        raise NotImplementedError

    def summary(
        self, candidates: Sequence[str], logprobs: Floats, answers: Sequence[Mapping[str, Any]]
    ) -> dict[str, dict[str, float]]:
        """What one model shows of each candidate, by form of measure; see schemas.RUNS.

        logprobs (Q, C), nats, of the questions with options; answers: schemas.ANSWERS of this category.
        """
        raise NotImplementedError
