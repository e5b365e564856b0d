"""Log-probabilities of a base that an engine serves, for screens that need neither its gradients nor its states."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.errors import StepError
from pipeline.models.engines import Prompt, Sampling, TokenEngine, canary
from pipeline.models.language_model import Floats, LanguageModel
from pipeline.models.trainers.batches import Rows
from pipeline.models.trainers.reference import reference

if TYPE_CHECKING:
    import torch

CACHE_GIB = 4.0  # of keys and values on a CPU: a row of the whole context must fit
GPU_SHARE = 0.5  # of a GPU: whoever asked may hold the same model on it


class ServedModel(LanguageModel):
    """The base that an engine serves; it batches by itself, and other callers may use it at the same time.

    An engine computes in the precision in which it serves the model: on a GPU that of the weights.
    """

    def __init__(self, model: Path, engine: TokenEngine) -> None:
        """model: the folder that the engine serves, for its tokenizer."""
        super().__init__(model, engine.context_tokens)
        self._engine = engine

    def token_logprobs(self, rows: Rows) -> list[Floats]:
        return self._engine.token_logprobs(
            [ids.tolist() for ids in rows.prompts], [i.tolist() for i in rows.completions]
        )

    def answers(
        self, prompts: Sequence[str], answers: Sequence[str], before: Sequence[tuple[str, str]] = (), opening: str = ""
    ) -> "torch.Tensor":
        import torch

        asked = [Prompt(prompt, turns=tuple(before), opening=opening) for prompt in prompts]
        return torch.from_numpy(self._engine.score(asked, answers))

    def sampled(self, prompts: Sequence[str], max_tokens: int, seed: int) -> list[str]:
        seeds = np.random.default_rng(seed).integers(1 << 31, size=len(prompts)).tolist()
        sampling = Sampling(temperature=1.0, max_tokens=max_tokens, min_tokens=1)
        return [one.text for one in self._engine.generate([Prompt(prompt) for prompt in prompts], seeds, sampling)]


def serve(model: Path) -> ServedModel:
    """A base in a vLLM engine of this process, compared with transformers.

    Raises StepError if it does not start, and CanaryFailed if it serves another model than the folder has.
    """
    import torch

    expected = reference(model, None)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.empty_cache()  # vLLM counts what is free
    try:
        from pipeline.models.engines.vllm import VllmEngine

        engine = VllmEngine(
            model, memory_gib=CACHE_GIB, adapter_rank=0, gpus=GPU_SHARE if on_gpu else 0, tensor_parallel=1
        )
    except Exception as error:  # vLLM raises many kinds
        lines = str(error).strip().splitlines() or ["no message"]
        raise StepError(f"vLLM cannot serve {model}: {type(error).__name__}: {lines[-1]}") from error
    canary.difference(engine, expected, str(model))
    return ServedModel(model, engine)
