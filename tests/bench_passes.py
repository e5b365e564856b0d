"""The benchmarks of forward passes for screens: the log-probability of every token, in torch and by vLLM."""

import statistics
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from tests.bench_adapters import REPEATS, ROOT
from tests.rows import about_numbers


def token_logprobs() -> list[tuple[str, float, str, bool]]:
    """Tokens per CPU-second whose log-probability a nano base gives, and how far vLLM's differ."""
    return _beside_vllm("configs/quickstart.yaml", "llama-a", about_numbers(2_000), least=1.0)


def real_token_logprobs() -> list[tuple[str, float, str, bool]]:
    """The same with SmolLM2-135M. An engine has to be started first, which is not counted."""
    return _beside_vllm("configs/real/smollm2.yaml", "smollm2", about_numbers(32), least=0.8)


def _beside_vllm(study: str, family: str, rows: pa.Table, least: float) -> list[tuple[str, float, str, bool]]:
    from multiprocessing import get_context

    from pipeline.study.loader import load

    with tempfile.TemporaryDirectory() as folder:
        load(ROOT / study).families[family].write(Path(folder) / "model")
        with get_context("spawn").Pool(1) as process:  # its own: vLLM binds a process to cores
            ours, theirs, difference = process.apply(_rates, (Path(folder) / "model", rows))
    name = f"log p of tokens, {family}, tokens/CPU-s (≥ {least} × vLLM)"
    note = f"{ours / theirs:.2f} × vLLM's prompt_logprobs; at most {difference:.1e} nats apart"
    return [(name, ours, note, ours >= least * theirs and difference < 1e-3)]


def _rates(model: Path, table: pa.Table) -> tuple[float, float, float]:
    """Tokens per CPU-second of Passes and of vLLM without adapters, medians, and their largest difference in nats."""
    import os

    from pipeline.models.engines import vllm  # sets vLLM's environment
    from pipeline.models.passes import Passes

    os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"
    from vllm import LLM, SamplingParams

    passes = Passes(model)
    rows = passes.rows(table)
    texts = [[*before.tolist(), *after.tolist()] for before, after in zip(rows.prompts, rows.completions, strict=True)]
    llm = LLM(
        model=str(model),
        dtype="float32",
        load_format="safetensors",
        enforce_eager=True,
        max_model_len=min(passes.context, 1024),
        block_size=vllm.CPU_BLOCK_TOKENS,
        enable_prefix_caching=False,  # vLLM computes these anew in any case
        enable_chunked_prefill=False,
        disable_log_stats=True,
    )
    asked = SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False)
    prompts = [{"prompt_token_ids": text} for text in texts]
    times: list[tuple[float, float]] = []
    for _ in range(REPEATS + 1):  # the first warms both up and is not counted
        begun = time.process_time()
        ours = passes.token_logprobs(rows)
        between = time.process_time()
        theirs = llm.generate(prompts, asked, use_tqdm=False)
        times.append((between - begun, time.process_time() - between))
    difference = max(
        abs(said.prompt_logprobs[len(before) + place][token].logprob - value)
        for said, before, after, values in zip(theirs, rows.prompts, rows.completions, ours, strict=True)
        for place, (token, value) in enumerate(zip(after.tolist(), values, strict=True))
    )
    seconds = [statistics.median(each) for each in zip(*times[1:], strict=True)]
    tokens = sum(map(len, texts))
    return tokens / seconds[0], tokens / seconds[1], float(difference)
