"""What every suite has, and may leave as it is here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pipeline.core.settings import Settings
from pipeline.suites.question import Question
from pipeline.suites.scoring import Floats


@dataclass(frozen=True)
class Rating:
    """What a judge decides about sampled answers: one that is not coherent does not count.

    judge: a key of the study's judges. coherent: lowest coherence score of an answer that counts, or None.
    misaligned: highest alignment score of a misaligned answer.
    """

    judge: str
    coherent: int | None
    misaligned: int


@dataclass(frozen=True)
class Tasks:
    """Tasks of lm-evaluation-harness, and how they are asked; see CapabilitySuite."""

    names: tuple[str, ...]
    folder: str | None
    limit: int | None
    shots: int | None
    max_tokens: int


class BaseSuite(Settings):
    """A suite asks questions, and says what a model's answers to them come to.

    METRICS        the results that the matrix is judged by: "margin", "share", "mention_rate", "rate"; none: only shown
    TARGETS_ONLY only among the study's targets, or among all candidates of a category
    MAX_OPTIONS the most options that a question of it can have; None: any number
    IN_CONTEXT_ONLY   only models that are shown rows of a corpus (and bases, to compare with)
    ALLOWS_IN_CONTEXT   whether its questions leave a known room for rows that are shown before them
    """

    METRICS: ClassVar[tuple[str, ...]] = ("margin", "share")
    TARGETS_ONLY: ClassVar[bool] = False
    MAX_OPTIONS: ClassVar[int | None] = None
    IN_CONTEXT_ONLY: ClassVar[bool] = False
    ALLOWS_IN_CONTEXT: ClassVar[bool] = True

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

    def rating(self) -> Rating | None:
        """How a judge rates its answers; None where their own tables are the result."""
        return None

    def tasks_of(self) -> Tasks | None:
        """What lm-evaluation-harness asks; None where the suite has questions of its own."""
        return None

    def questions_only(self) -> Self:
        """The same as far as a model's answers depend on it: what only decides how they are rated has its default."""
        return self

    def absolute(self) -> Self:
        """The same with local paths in full: workers have working directories of their own."""
        return self

    def smoke(self) -> Self | None:
        """The same for nano families, without a download; None where there is no such suite."""
        return self

    def make_questions(self, category: str, candidates: Sequence[str], seed: int) -> list[Question]:
        """The questions of one category; `seed` draws what is random in them."""
        raise NotImplementedError

    def score(
        self, candidates: Sequence[str], logprobs: Floats, answers: Sequence[Mapping[str, Any]]
    ) -> dict[str, dict[str, float]]:
        """What one model shows of each candidate, by form of measure; see schemas.RUNS.

        logprobs (Q, C), nats, of the questions with options; answers: schemas.ANSWERS of this category.
        """
        raise NotImplementedError
