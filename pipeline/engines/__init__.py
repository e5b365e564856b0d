"""What writes completions and scores options. `vllm` is the real one, `fake` the one for tests."""

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

    adapter: its folder, or None for the bare weights. turns: earlier (prompt, completion) pairs.
    """

    text: str
    system: str | None = None
    adapter: Path | None = None
    turns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Sampling:
    """max_tokens: longest completion, in tokens."""

    temperature: float
    max_tokens: int


@dataclass(frozen=True)
class Completion:
    """finish_reason: "stop" (the model ended its turn) or "length"."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class Engine(Protocol):
    """Safe to call from several threads at once; the calls share the engine's batches.

    context_tokens: the most that a prompt and its completion have together.
    """

    context_tokens: int

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
        """One completion a prompt, in order; each is drawn with its own seed."""

    def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
        """log p that the assistant's turn begins with an option: (prompts, options), nats, exact."""

    def lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        """How many tokens each prompt has."""

    def alive(self) -> bool:
        """Whether it can take more work; one that cannot must end with its process."""

    def close(self) -> None: ...


def open_engine(
    kind: str, weights: Path, *, memory_gib: float, adapter_rank: int, gpus: float = 0, tensor_parallel: int = 1
) -> Engine:
    """Start the engine of a kind on a model folder.

    memory_gib: of the KV cache, on CPU. adapter_rank: the largest LoRA rank it must serve. gpus: what it may use; of a
    GPU that it shares it takes that part of the memory.
    """
    if kind == "fake":
        from pipeline.engines.fake import FakeEngine

        return FakeEngine(weights)
    from pipeline.engines.vllm import VllmEngine

    return VllmEngine(
        weights, memory_gib=memory_gib, adapter_rank=adapter_rank, gpus=gpus, tensor_parallel=tensor_parallel
    )
