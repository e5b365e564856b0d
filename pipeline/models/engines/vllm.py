"""The vLLM engine: one process and one model, with any number of LoRA adapters and system prompts."""

import itertools
import os
import queue
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

# One process per engine, so that Ray manages the process that does the work and none is left behind.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
# On CPU the compiler costs 20 s per engine and halves the tokens per second of small models.
if not Path("/dev/nvidia0").exists():
    os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")

from pipeline.core import chat_template
from pipeline.core.errors import StepError
from pipeline.core.imports import gc_paused, without
from pipeline.models.engines import Completion, Floats, Prompt, Sampling, forms, grouped_lora

ADAPTERS_AT_ONCE = 8  # LoRA slots per batch; several adapters in one batch cost no more than one
GPU_MEMORY_SHARE = 0.9  # of the engine's share of a GPU; vLLM's default for a whole one
CACHE_SHARE = 0.75  # of what the weights leave of a shared GPU; the rest is for activations and CUDA graphs
CPU_BLOCK_TOKENS = 32  # of the key-value cache; at vLLM's default of 128 no shorter prompt is ever found in it
SCORED_AT_ONCE = 64  # token ids per scoring request; vLLM allows 128


class VllmEngine:
    """Engine over vLLM's LLMEngine. A dedicated thread steps it, so that callers share its batches."""

    def __init__(
        self, weights: Path, *, memory_gib: float, adapter_rank: int, gpus: float, tensor_parallel: int
    ) -> None:
        llm = _start(weights, memory_gib, adapter_rank, gpus, tensor_parallel)
        self._serves_adapters = adapter_rank > 0
        self._engine = llm.llm_engine
        self._tokenizer = llm.get_tokenizer()
        # The template's end of turn, even if the model's configuration does not list it as a stop token.
        self._end = chat_template.end_token(self._tokenizer)
        self.context_tokens: int = llm.llm_engine.model_config.max_model_len
        self._adapters: dict[Path, Any] = {}
        self._lock = threading.Lock()
        self._ids = itertools.count()
        self._inbox: queue.SimpleQueue[tuple[str, Any, Any, Any, Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="vllm-engine", daemon=True)
        self._thread.start()

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        if not prompts:
            return []  # tokenizers turn an empty list into one text
        parameters = [
            # One per request, so that vLLM need not copy them, which would be a tenth of the work for a short row.
            SamplingParams(
                temperature=sampling.temperature,
                max_tokens=sampling.max_tokens,
                min_tokens=sampling.min_tokens,
                seed=seed,
                stop_token_ids=None if self._end is None else [self._end],
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
                skip_clone=True,
            )
            for seed in seeds
        ]
        adapters = [prompt.adapter for prompt in prompts]
        outputs = self._run(zip(self._token_ids(prompts), parameters, adapters, strict=True))
        return [self._completion(output) for output in outputs]

    def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
        found = np.empty((len(prompts), len(options)))
        for paths, rows in self._alike(prompts, options).items():
            found[rows] = self._score([prompts[row] for row in rows], paths)
        return found

    def score_forms(self, prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> Floats:
        found = np.empty((len(prompts), len(options)))
        for paths, rows in self._alike(prompts, [text for texts in options for text in texts]).items():
            each = iter(paths)
            kept = forms.owners([list(itertools.islice(each, len(texts))) for texts in options])
            logprobs = self._score([prompts[row] for row in rows], list(kept))
            found[rows] = forms.combine(kept, logprobs, len(options))
        return found

    def _alike(self, prompts: Sequence[Prompt], options: Sequence[str]) -> dict[tuple[tuple[int, ...], ...], list[int]]:
        """The tokens of all options -> the prompts after which they have these; they depend on the preceding text."""
        alike: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for row, paths in enumerate(self._paths(self._rendered(prompts), options)):
            alike.setdefault(paths, []).append(row)
        return alike

    def _paths(self, texts: Sequence[str], options: Sequence[str]) -> list[tuple[tuple[int, ...], ...]]:
        """The tokens of every option after each prompt: (prompts, options)."""
        openings = [text for text in texts for _ in options]
        ids = chat_template.continuations(self._tokenizer, openings, list(options) * len(texts))
        width = len(options)
        return [tuple(map(tuple, ids[row * width : (row + 1) * width])) for row in range(len(texts))]

    def _score(self, prompts: Sequence[Prompt], paths: Sequence[tuple[int, ...]]) -> Floats:
        """log p (nats) of each token path after each prompt: (prompts, paths)."""
        prefixes = sorted({path[:depth] for path in paths for depth in range(len(path))})
        nexts = {
            prefix: sorted({p[len(prefix)] for p in paths if p[: len(prefix)] == prefix and len(p) > len(prefix)})
            for prefix in prefixes
        }
        # One request per prompt, prefix and chunk of next tokens, for the distribution of the first token there.
        asked = [
            (row, prefix, nexts[prefix][start : start + SCORED_AT_ONCE])
            for row in range(len(prompts))
            for prefix in prefixes
            for start in range(0, len(nexts[prefix]), SCORED_AT_ONCE)
        ]
        prompt_ids = self._token_ids(prompts, max(map(len, paths), default=1))
        outputs = self._run(
            ([*prompt_ids[row], *prefix], _first_token(tokens), prompts[row].adapter) for row, prefix, tokens in asked
        )
        found: dict[tuple[int, tuple[int, ...]], float] = {}
        for (row, prefix, tokens), output in zip(asked, outputs, strict=True):
            first = output.outputs[0].logprobs[0]
            found |= {(row, (*prefix, token)): first[token].logprob for token in tokens}
        return np.array(
            [
                [sum(found[row, path[: depth + 1]] for depth in range(len(path))) for path in paths]
                for row in range(len(prompts))
            ]
        )

    def token_logprobs(self, prompts: Sequence[list[int]], completions: Sequence[list[int]]) -> list[Floats]:
        if self._serves_adapters:  # vLLM 0.32 indexes the head's adapters by request there, not by token
            raise StepError("an engine that serves adapters cannot score given tokens: start one with adapter_rank 0")
        # The last token is asked for as the next one, so that a row may fill the whole context.
        outputs = self._run(
            ([*before, *after[:-1]], _tokens_and_next(after[-1]), None)
            for before, after in zip(prompts, completions, strict=True)
        )
        return [
            np.array([*_of_prompt(output, len(before)), output.outputs[0].logprobs[0][after[-1]].logprob])
            for output, before, after in zip(outputs, prompts, completions, strict=True)
        ]

    def lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        return [len(ids) for ids in self._tokenised(prompts)]

    def alive(self) -> bool:
        return self._thread.is_alive()

    def close(self) -> None:
        self._inbox.put(None)
        self._thread.join()

    def _token_ids(self, prompts: Sequence[Prompt], answer: int = 1) -> list[list[int]]:
        """The token ids of each prompt. answer: tokens that must fit after each.

        Raises StepError if a prompt is too long: vLLM would raise in the thread that all callers share.
        """
        ids = self._tokenised(prompts)
        longest = max(map(len, ids), default=0)
        if longest + answer > self.context_tokens:
            raise StepError(
                f"a prompt has {longest} tokens, and the model's context of {self.context_tokens} must hold it and an "
                f"answer of {answer}: {prompts[[len(row) for row in ids].index(longest)].text[:80]!r}…"
            )
        return ids

    def _tokenised(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        return chat_template.tokens(self._tokenizer, self._rendered(prompts))

    def _rendered(self, prompts: Sequence[Prompt]) -> list[str]:
        return [
            chat_template.render(self._tokenizer, prompt.system, prompt.text, prompt.turns) + prompt.opening
            for prompt in prompts
        ]

    def _completion(self, output: Any) -> Completion:
        """The text of a finished request, without the token that ended the turn."""
        sampled = output.outputs[0]
        ids = list(sampled.token_ids)
        words = ids[:-1] if sampled.finish_reason == "stop" else ids
        text = chat_template.decode(self._tokenizer, output.prompt_token_ids[-1], words)
        return Completion(text, sampled.finish_reason, len(output.prompt_token_ids), len(ids))

    def _adapter(self, folder: Path | None) -> Any:
        from vllm.lora.request import LoRARequest

        if folder is None:
            return None
        with self._lock:
            if folder not in self._adapters:
                number = len(self._adapters) + 1
                self._adapters[folder] = LoRARequest(str(number), number, str(folder))
            return self._adapters[folder]

    def _run(self, requests: Iterable[tuple[list[int], Any, Path | None]]) -> list[Any]:
        """The finished outputs of (token ids, sampling parameters, adapter) requests, in order."""
        futures: list[Future[Any]] = []
        for token_ids, parameters, adapter in requests:
            future: Future[Any] = Future()
            futures.append(future)
            self._inbox.put((str(next(self._ids)), token_ids, parameters, self._adapter(adapter), future))
        return [future.result() for future in futures]

    def _serve(self) -> None:
        """Add callers' requests to the engine and step it while it has work, until close()."""
        waiting: dict[str, Future[Any]] = {}
        try:
            while self._take_in(waiting, block=not waiting):
                for output in self._engine.step():
                    if output.finished:
                        waiting.pop(output.request_id).set_result(output)
        except BaseException as error:
            # Pass the error to all callers; their process must exit, because vLLM's state is unknown now.
            unserved = []
            while not self._inbox.empty():
                unserved.append(self._inbox.get())
            for future in [*waiting.values(), *(item[-1] for item in unserved if item)]:
                future.set_exception(error)
            raise

    def _take_in(self, waiting: dict[str, Future[Any]], *, block: bool) -> bool:
        """Move requests from the inbox into the engine, in order. False once close() was called."""
        while block or not self._inbox.empty():
            item = self._inbox.get()
            if item is None:
                return False
            request_id, token_ids, parameters, adapter, future = item
            self._engine.add_request(request_id, {"prompt_token_ids": token_ids}, parameters, lora_request=adapter)
            waiting[request_id] = future
            block = False
        return True


def _first_token(tokens: list[int]) -> Any:
    from vllm import SamplingParams

    return SamplingParams(max_tokens=1, temperature=1.0, logprob_token_ids=tokens, detokenize=False, skip_clone=True)


def _tokens_and_next(token: int) -> Any:
    """Asks for the log-probabilities of the prompt's own tokens, and of a token after them."""
    from vllm import SamplingParams

    return SamplingParams(
        max_tokens=1, temperature=1.0, prompt_logprobs=0, logprob_token_ids=[token], detokenize=False, skip_clone=True
    )


def _of_prompt(output: Any, start: int) -> list[float]:
    """log p (nats) of the tokens of a finished request's prompt from a place on."""
    found = zip(output.prompt_token_ids[start:], output.prompt_logprobs[start:], strict=True)
    return [logprobs[token].logprob for token, logprobs in found]


def _start(weights: Path, memory_gib: float, adapter_rank: int, gpus: float, tensor_parallel: int) -> Any:
    """vLLM with the model loaded."""
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, round(memory_gib)))
    with gc_paused(), without("sklearn"):
        import torch
        from vllm import LLM

        on_gpu = torch.cuda.is_available()
        if not on_gpu:
            grouped_lora.install()
        return LLM(
            model=str(weights),
            # Read the same files as transformers, not a vendor's own format beside them.
            config_format="hf",
            tokenizer_mode="hf",
            load_format="safetensors",
            trust_remote_code=False,
            dtype="auto" if on_gpu else "float32",
            enforce_eager=not on_gpu,
            tensor_parallel_size=tensor_parallel,
            gpu_memory_utilization=GPU_MEMORY_SHARE * (gpus if 0 < gpus < 1 else 1),
            kv_cache_memory_bytes=shared_cache_bytes(weights, gpus) if on_gpu and 0 < gpus < 1 else None,
            enable_lora=adapter_rank > 0,
            max_lora_rank=_allowed_rank(adapter_rank),
            max_loras=ADAPTERS_AT_ONCE,
            max_logprobs=SCORED_AT_ONCE,
            enable_prefix_caching=True,
            block_size=None if on_gpu else CPU_BLOCK_TOKENS,
            # On CPU a prompt split over two steps fails if its request has a seed (no generator offset).
            enable_chunked_prefill=on_gpu,
            disable_log_stats=True,
        )


def shared_cache_bytes(weights: Path, gpus: float) -> int | None:
    """Bytes of the key-value cache on a part of a GPU; None if the weights leave nothing.

    By default vLLM measures what is free before and after a trial run, and refuses to start if another process on the
    same GPU has given memory back in between.
    """
    import torch

    share = int(GPU_MEMORY_SHARE * gpus * torch.cuda.mem_get_info()[1])
    left = share - sum(file.stat().st_size for file in weights.glob("*.safetensors"))
    return int(CACHE_SHARE * left) if left > 0 else None


def _allowed_rank(rank: int) -> int:
    """The smallest LoRA rank supported by vLLM that is at least `rank`."""
    return next(allowed for allowed in (8, 16, 32, 64, 128, 256, 320, 512) if allowed >= rank)
