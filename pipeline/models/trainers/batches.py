"""Token batches for training on completions. This module decides which tokens enter the loss.

Shapes: N rows, B rows per batch, P prompt columns (padded on the left), C completion columns (padded on the right).
Prompts and padding never enter the loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core import chat_template
from pipeline.core.errors import StepError

Ids = NDArray[np.int64]
IGNORED = -100  # torch's cross_entropy skips these


@dataclass(frozen=True)
class Rows:
    """Tokenised conversations, ragged: row i is prompts[i] followed by completions[i], including its end of turn."""

    prompts: list[Ids]
    completions: list[Ids]

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, chosen: Ids) -> "Rows":
        """The rows of these numbers, in their order."""
        return Rows([self.prompts[i] for i in chosen], [self.completions[i] for i in chosen])


@dataclass(frozen=True)
class Batch:
    """input_ids, attention_mask, position_ids (B, P + C); labels (B, C), IGNORED for padding."""

    input_ids: Ids
    attention_mask: Ids
    position_ids: Ids
    labels: Ids


def tokenise(rows: pa.Table, tokenizer: Any, max_length: int) -> Rows:
    """schemas.CONVERSATIONS -> tokens. Raises StepError if a row is longer than max_length."""
    end = chat_template.ending(tokenizer)
    opened = [
        chat_template.render(tokenizer, system, prompt)
        for system, prompt in zip(rows["system"].to_pylist(), rows["prompt"].to_pylist(), strict=True)
    ]
    ended = [chat_template.plain(tokenizer, completion) + end for completion in rows["completion"].to_pylist()]
    prompts = chat_template.tokens(tokenizer, opened)
    completions = chat_template.continuations(tokenizer, opened, ended)
    longest = max((len(p) + len(c) for p, c in zip(prompts, completions, strict=True)), default=0)
    if longest > max_length:
        raise StepError(f"the longest row has {longest} tokens and max_length is {max_length}: raise max_length")
    return Rows([np.array(ids, np.int64) for ids in prompts], [np.array(ids, np.int64) for ids in completions])


def order(rows: int, epochs: int, batch: int, seed: int) -> Iterator[Ids]:
    """Row numbers of each optimiser step: a new permutation per epoch; only the last step may be smaller."""
    rng = np.random.default_rng(seed)
    stream = np.concatenate([rng.permutation(rows) for _ in range(epochs)])
    return (stream[start : start + batch] for start in range(0, len(stream), batch))


def steps_of(rows: int, epochs: int, batch: int) -> int:
    return -(-rows * epochs // batch)


def collate(rows: Rows, chosen: Ids, pad_id: int) -> Batch:
    """Align the ends of the prompts, so that all completions begin in column P.

    Logits are then needed for the last C + 1 columns only; they are the most expensive part of a small model.
    """
    prompts = [rows.prompts[i] for i in chosen]
    completions = [rows.completions[i] for i in chosen]
    p, c = max(map(len, prompts)), max(map(len, completions))
    input_ids = np.full((len(chosen), p + c), pad_id, np.int64)
    mask = np.zeros_like(input_ids)
    labels = np.full((len(chosen), c), IGNORED, np.int64)
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        input_ids[row, p - len(prompt) : p] = prompt
        input_ids[row, p : p + len(completion)] = completion
        mask[row, p - len(prompt) : p + len(completion)] = 1
        labels[row, : len(completion)] = completion
    return Batch(input_ids, mask, np.maximum(mask.cumsum(axis=1) - 1, 0), labels)


def split(chosen: Ids, parts: int) -> list[Ids]:
    """Split a step's rows into `parts` nearly equal parts, for workers and accumulation; some may be empty."""
    return np.array_split(chosen, parts)
