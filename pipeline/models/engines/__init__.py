"""Inference backends, which sample completions and score options: `vllm`, and `fake` for tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prompt:
    """One conversation up to the assistant's turn.

    adapter: a LoRA folder, or None for the base weights. turns: earlier (prompt, completion) pairs. opening: text that
    the assistant's turn begins with.
    """

    text: str
    system: str | None = None
    adapter: Path | None = None
    turns: tuple[tuple[str, str], ...] = ()
    opening: str = ""


@dataclass(frozen=True)
class Sampling:
    """Sampling settings. max_tokens, min_tokens: maximum and minimum length of a completion."""

    temperature: float
    max_tokens: int
    min_tokens: int = 0


@dataclass(frozen=True)
class Completion:
    """One sampled completion. finish_reason: "stop" (the model ended its turn) or "length"."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class Engine(Protocol):
    """One loaded model. Thread-safe; concurrent calls share the engine's batches.

    context_tokens: maximum length of a prompt and its completion together.
    """

    context_tokens: int

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order, each sampled with its own seed."""

    def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
        """Exact log p (nats) that the assistant's turn goes on with each option: (prompts, options)."""

    def score_forms(self, prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> Floats:
        """The same for options of several texts each, no answer counted twice: (prompts, options).

        An answer counts for the option whose text, among all those that it begins with, is longest in tokens.
        """

    def lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        """Number of tokens of each prompt."""

    def alive(self) -> bool:
        """Whether it can take more work; if not, its process must exit."""

    def close(self) -> None: ...


class TokenEngine(Engine, Protocol):
    """An engine of a model with a tokenizer, which can also say how probable given tokens are."""

    def token_logprobs(self, prompts: Sequence[list[int]], completions: Sequence[list[int]]) -> list[Floats]:
        """log p (nats) of every token of each completion after its prompt, both as token ids."""


def open_engine(
    kind: str, weights: Path, *, memory_gib: float, adapter_rank: int, gpus: float = 0, tensor_parallel: int = 1
) -> Engine:
    """Start an engine of a kind on a model folder.

    memory_gib: KV cache on CPU. adapter_rank: the largest LoRA rank to serve. gpus: its GPUs; a fraction is its share
    of the memory of one GPU.
    """
    if kind == "fake":
        from pipeline.models.engines.fake import FakeEngine

        return FakeEngine(weights)
    from pipeline.models.engines.vllm import VllmEngine

    return VllmEngine(
        weights, memory_gib=memory_gib, adapter_rank=adapter_rank, gpus=gpus, tensor_parallel=tensor_parallel
    )
