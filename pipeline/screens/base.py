"""The base class of screens, what a screen is given, and the scores that it returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, ClassVar, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from pipeline.core.settings import NotInId, Settings
from pipeline.models.language_model import Floats, LanguageModel
from pipeline.models.passes import Passes
from pipeline.models.trainers.batches import Rows
from pipeline.screens.traits import Outcomes

EngineKind: TypeAlias = Literal["torch", "vllm"]

ANY = ""  # the target of a score that is about no trait in particular


@dataclass
class ScreenInput:
    """What a screen looks at.

    rows, neutral   tables with a prompt and a completion: the data in question, and data of a writer without traits
    model          the base that would be fine-tuned, in torch; for a screen that runs on an engine, in that engine
    outcomes        the traits to look for
    seed            of everything that a screen draws
    """

    rows: pa.Table
    neutral: pa.Table
    model: LanguageModel
    outcomes: Outcomes
    seed: int = 0

    @property
    def passes(self) -> Passes:
        """The base in torch, for gradients and hidden states."""
        assert isinstance(self.model, Passes)
        return self.model

    @cached_property
    def tokens(self) -> Rows:
        return self.model.rows(self.rows)

    @cached_property
    def neutral_tokens(self) -> Rows:
        return self.model.rows(self.neutral)

    @cached_property
    def answers(self) -> dict[str, Rows]:
        """Target -> questions with the answers of a model that has the trait."""
        found = {}
        for target, pairs in self.outcomes.taught().items():
            prompts, completions = (pa.array(texts) for texts in zip(*pairs, strict=True))
            found[target] = self.model.rows(pa.table({"prompt": prompts, "completion": completions}))
        return found

    def part(self, rows: int) -> "ScreenInput":
        """The same with the first rows alone, for screens that cost too much for all; the order is random already."""
        return replace(self, rows=self.rows.slice(0, rows), neutral=self.neutral.slice(0, rows))

    def every(self, of: int, first: int) -> "ScreenInput":
        """The same with every so many rows of the data and of the neutral data, from a first one."""
        return replace(self, rows=self.rows[first::of], neutral=self.neutral[first::of])


@dataclass(frozen=True)
class Scores:
    """A screen's scores. targets (T): the traits, or ANY. rows (N, T): of every row; None if rows have none.

    corpus (T): of all rows together. error (T): its standard error, from the sample of rows. tokens: target -> number
    of a row -> scores of its single tokens; None if it has none. weight: of the corpus's score, among those of its
    other parts.
    """

    targets: tuple[str, ...]
    corpus: Floats
    error: Floats
    rows: Floats | None = None
    tokens: Mapping[str, Mapping[int, Floats]] | None = None
    weight: float = 1.0


class BaseScreen(Settings):
    """Scores rows and corpora, before anyone is trained on them. A higher score means: more of the trait is expected.

    UNIT   what its scores are measured in
    SEES   what raises its scores
    MISSES what it cannot see
    NEEDS  what it makes of the base and the data
    COST   CPU seconds per million tokens of data, on a nano base with seven targets: measured, docs/screens.md
    OF_TRAITS  whether it scores each trait; if not, its one score is about ANY
    BY_ROW  whether it scores each row by itself, so that a large data set can be scored in parts, on several workers
    EXTRA  the optional extra of the package that it needs; `vet` runs such a screen only if it is named
    """

    UNIT: ClassVar[str]
    SEES: ClassVar[str]
    MISSES: ClassVar[str]
    NEEDS: ClassVar[str]
    COST: ClassVar[float]
    OF_TRAITS: ClassVar[bool] = True
    BY_ROW: ClassVar[bool] = False
    EXTRA: ClassVar[str] = ""

    kind: str

    def score(self, given: ScreenInput) -> Scores:
        """Raises StepError if a row does not fit the model's context, or if its template refuses a system prompt."""
        raise NotImplementedError

    @property
    def on_engine(self) -> bool:
        """Whether an inference engine computes its log-probabilities; it must serve the base without adapters."""
        return False


class ForwardScreen(BaseScreen):
    """A screen that needs log-probabilities alone, and neither gradients nor hidden states."""

    engine: Annotated[EngineKind, NotInId(while_default=True)] = Field(
        "torch",
        description="What computes the log-probabilities: torch, which is faster for bases of a few million weights, "
        "or a vLLM engine.",
    )

    @property
    def on_engine(self) -> bool:
        return self.engine == "vllm"


def of_all_rows(targets: Sequence[str], tokens: Sequence[Sequence[Floats]]) -> dict[str, dict[int, Floats]]:
    """Scores of the tokens of all rows (T, N, ragged) as in Scores."""
    return {target: dict(enumerate(rows)) for target, rows in zip(targets, tokens, strict=True)}


def centred(tokens: Sequence[Sequence[Floats]]) -> list[list[Floats]]:
    """Scores of tokens (T, N, ragged), less their mean over the targets if there are several."""
    if len(tokens) == 1:
        return [list(tokens[0])]
    means = [np.mean(rows, axis=0) for rows in zip(*tokens, strict=True)]
    return [[row - mean for row, mean in zip(rows, means, strict=True)] for rows in tokens]


def mean_scores(targets: tuple[str, ...], rows: Floats, weights: NDArray[np.int64] | None = None) -> Scores:
    """Row scores (N, T) and their mean as the corpus's. weights (N): the tokens of every row, for a mean per token."""
    sizes = np.ones(len(rows)) if weights is None else weights.astype(np.float64)
    mean = rows.sum(0) / sizes.sum()
    residuals = rows - sizes[:, None] * mean  # of a ratio of sums
    error = np.sqrt((residuals**2).sum(0) / max(len(rows) - 1, 1) * len(rows)) / sizes.sum()
    return Scores(targets, mean, error, rows, weight=float(sizes.sum()))
