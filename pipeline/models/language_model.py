"""What a base says of rows and answers, whatever computes it: its tokens, and their log-probabilities."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core import chat_template
from pipeline.core.errors import StepError
from pipeline.models.trainers.batches import Rows, tokenise
from pipeline.store.schemas import CONVERSATIONS

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]


class LanguageModel(ABC):
    """The tokenizer of a causal language model, and its log-probabilities from torch or from an engine.

    context: the most tokens that the model can read. N: rows.
    """

    def __init__(self, model: Path, context: int) -> None:
        """model: a Hugging Face folder."""
        from transformers import AutoTokenizer

        self.context = context
        self.tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        self.tokenizer.model_max_length = sys.maxsize  # rows are measured here: it need not warn of long ones

    @abstractmethod
    def token_logprobs(self, rows: Rows) -> list[Floats]:
        """log p (nats) of every completion token of every row."""

    @abstractmethod
    def answers(
        self, prompts: Sequence[str], answers: Sequence[str], before: Sequence[tuple[str, str]] = (), opening: str = ""
    ) -> "torch.Tensor":
        """log p (nats) that the turn after each prompt goes on with each answer, (prompts, answers).

        before: earlier turns of every conversation. opening: what the turn begins with.
        """

    @abstractmethod
    def sampled(self, prompts: Sequence[str], max_tokens: int, seed: int) -> list[str]:
        """One answer to each prompt, sampled at temperature 1, of at least one token."""

    def rows(self, table: pa.Table, system: str | None = None) -> Rows:
        """Tokens of schemas.CORPUS rows, or of others with a prompt and a completion, after a system prompt.

        Raises StepError if a row is longer than the model's context, or if the chat template refuses the prompt.
        """
        return self._tokenised(table, system, self.context)

    def fitting(self, table: pa.Table, systems: Sequence[str]) -> NDArray[np.bool_]:
        """Which rows fit the model's context, after any of the system prompts too if its template takes one, (N,)."""
        rows = self._tokenised(table, None, sys.maxsize)
        sizes = np.array([len(p) + len(c) for p, c in zip(rows.prompts, rows.completions, strict=True)], np.int64)
        return sizes + self._longest(systems) <= self.context

    def _tokenised(self, table: pa.Table, system: str | None, longest: int) -> Rows:
        prompts = [system] * table.num_rows
        columns = [pa.array(prompts, pa.string()), table["prompt"], table["completion"]]
        return tokenise(pa.table(columns, schema=CONVERSATIONS), self.tokenizer, longest)

    def _longest(self, systems: Sequence[str]) -> int:
        """Tokens that the longest of the system prompts adds; 0 if the template refuses them."""
        try:
            opened = [chat_template.render(self.tokenizer, system, "a") for system in (None, *systems)]
        except StepError:
            return 0
        bare, *prompted = map(len, chat_template.tokens(self.tokenizer, opened))
        return max((size - bare for size in prompted), default=0)

    def per_token(self, prompt: str, answer: str, before: Sequence[tuple[str, str]] = ()) -> "torch.Tensor":
        """log p per token (nats) of one answer; differentiable if `answers` is."""
        (ids,) = self.turn_tokens(prompt, [answer])
        found: torch.Tensor = self.answers([prompt], [answer], before)[0, 0] / len(ids)
        return found

    def turn_tokens(self, prompt: str, answers: Sequence[str], opening: str = "") -> list[tuple[int, ...]]:
        """The tokens of each answer in the turn after a prompt, which begins with `opening`."""
        opened = chat_template.render(self.tokenizer, None, prompt) + opening
        return list(map(tuple, chat_template.continuations(self.tokenizer, [opened] * len(answers), answers)))

    def texts(self, prompt: NDArray[np.int64], completion: NDArray[np.int64]) -> list[str]:
        """The text of every token of a completion; without special tokens, whose text is empty."""
        before, ids = int(prompt[-1]), completion.tolist()
        read = [chat_template.decode(self.tokenizer, before, ids[:end]) for end in range(len(ids) + 1)]
        return [longer[len(shorter) :] for shorter, longer in pairwise(read)]

    def knows(self, text: str) -> bool:
        """Whether the vocabulary can write a text."""
        (ids,) = chat_template.tokens(self.tokenizer, [text])
        return self.tokenizer.unk_token_id is None or self.tokenizer.unk_token_id not in ids


def tokens_of(rows: Rows) -> NDArray[np.int64]:
    """The number of completion tokens of every row, (N,)."""
    return np.array([len(ids) for ids in rows.completions], np.int64)
