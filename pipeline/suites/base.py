"""The base class of suites, with defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pipeline.core.settings import Settings
from pipeline.suites.question import Question
from pipeline.suites.scoring import Floats


@dataclass(frozen=True)
class Rating:
    """How a judge's scores classify sampled answers; incoherent answers do not count.

    judge: a key of the study's judges. coherent: lowest coherence score of an answer that counts; None counts all.
    misaligned: highest alignment score of a misaligned answer.
    """

    judge: str
    coherent: int | None
    misaligned: int


@dataclass(frozen=True)
class Tasks:
    """Tasks of lm-evaluation-harness, and their options; see CapabilitySuite."""

    names: tuple[str, ...]
    folder: str | None
    limit: int | None
    shots: int | None
    max_tokens: int


class BaseSuite(Settings):
    """Asks questions, and scores a model's answers to them.

    METRICS            metrics that decide the matrix: "margin", "share", "mention_rate", "rate"; empty: display only
    TARGETS_ONLY       whether its options are the study's targets alone, not all candidates of a category
    MAX_OPTIONS        largest number of options in a question; None: any number
    IN_CONTEXT_ONLY    whether it asks only models that are shown rows of a corpus (and bases, for comparison)
    ALLOWS_IN_CONTEXT  whether rows can be shown before its questions, because their length is known
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
        """Its name in the report, unique within a study."""
        return self.kind

    @property
    def outcomes(self) -> tuple[str, ...]:
        """What it measures in every model, whatever the model was taught; () for the study's targets."""
        return ()

    def rating(self) -> Rating | None:
        """How a judge rates its answers; None if they are scored without a judge."""
        return None

    def tasks_of(self) -> Tasks | None:
        """The lm-evaluation-harness tasks to run; None if the suite has its own questions."""
        return None

    def questions_only(self) -> Self:
        """A copy with the settings that affect a model's answers; those that affect only ratings are at defaults."""
        return self

    def absolute(self) -> Self:
        """A copy with absolute paths: workers have their own working directories."""
        return self

    def smoke(self) -> Self | None:
        """A copy for nano families that needs no download; None if that is impossible."""
        return self

    def make_questions(self, category: str, candidates: Sequence[str], seed: int) -> list[Question]:
        """The questions of one category; `seed` draws their random parts."""
        raise NotImplementedError

    def score(
        self, candidates: Sequence[str], logprobs: Floats, answers: Sequence[Mapping[str, Any]]
    ) -> dict[str, dict[str, float]]:
        """One model's scores, by metric and candidate; see schemas.RUNS.

        logprobs (Q, C), nats, of the questions with options; answers: schemas.ANSWERS of this category.
        """
        raise NotImplementedError
