"""The benchmarks of adapters on a CPU: how much faster vLLM answers as it is set up here than as it is shipped."""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
REPEATS = 5


@dataclass(frozen=True)
class Adapted:
    """A base with adapters, and how much it is asked.

    family: of a study file. answers: scored per question. lists: of numbers, over all adapters.
    """

    study: str
    family: str
    adapters: int
    questions: int
    answers: int
    lists: int


NANO = Adapted("configs/quickstart.yaml", "llama-a", adapters=8, questions=24, answers=19, lists=256)
SMOLLM2 = Adapted("configs/real/smollm2.yaml", "smollm2", adapters=2, questions=2, answers=4, lists=8)


def adapters() -> list[tuple[str, float, str, bool]]:
    """Tokens per CPU-second with LoRA adapters of a nano base on a CPU."""
    return _variants(NANO)


def real_adapters() -> list[tuple[str, float, str, bool]]:
    """The same with SmolLM2-135M."""
    return _variants(SMOLLM2)


def _variants(adapted: Adapted) -> list[tuple[str, float, str, bool]]:
    """As vLLM is shipped, with smaller blocks, and with grouped products too."""
    from multiprocessing import get_context

    variants = {"as shipped": (128, False), "blocks of 32 tokens": (32, False), "and grouped products": (32, True)}
    rows: list[tuple[str, float, str, bool]] = []
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), adapted)
        found = {}
        for name, variant in variants.items():
            with get_context("spawn").Pool(1) as process:  # its own, because vLLM is patched for a whole process
                found[name] = process.apply(_adapter_rates, (Path(folder), adapted, *variant))
    for task, what in enumerate(("scoring", "numbers")):
        shipped = found["as shipped"][task]
        for name, rates in found.items():
            better = f"{rates[task] / shipped:.2f} × as shipped"
            rows.append(
                (
                    f"{what}, {adapted.family} with adapters, {name}, tokens/CPU-s",
                    rates[task],
                    better,
                    rates[task] >= shipped,
                )
            )
    return rows


def _write(folder: Path, adapted: Adapted) -> None:
    """Its base and adapters of it, with random weights, as `model` and `0` … below the folder."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from pipeline.models.families.nano import NanoFamily, initialise
    from pipeline.study.loader import load

    family = load(ROOT / adapted.study).families[adapted.family]
    if isinstance(family, NanoFamily):
        initialise(family, folder / "model")
    else:
        family.write(folder / "model")
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    with_lora = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    for number in range(adapted.adapters):
        for name, weight in with_lora.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.05)
        with_lora.save_pretrained(folder / str(number))


def _adapter_rates(folder: Path, adapted: Adapted, block_tokens: int, grouped: bool) -> tuple[float, float]:
    """Prompt tokens scored and tokens generated per CPU-second, medians."""
    from pipeline.channels.numbers import NumbersChannel
    from pipeline.models.engines import Prompt, Sampling, grouped_lora, open_engine, vllm
    from pipeline.traits.questions import questions
    from pipeline.traits.words import candidates

    vllm.CPU_BLOCK_TOKENS = block_tokens
    if not grouped:
        grouped_lora.install = lambda: None
    engine = open_engine("vllm", folder / "model", memory_gib=1, adapter_rank=8)
    asked = [text for text, _ in questions("animal", "all")][: adapted.questions]
    answers = list(candidates("animal"))[: adapted.answers]
    channel, count = NumbersChannel(), adapted.adapters
    scored, generated = [], []
    for repeat in range(REPEATS + 1):  # the first warms the engine up and is not counted
        started, tokens = time.process_time(), 0
        for number in range(count):
            prompts = [Prompt(text, adapter=folder / str(number)) for text in asked]
            engine.score(prompts, answers)
            tokens += sum(engine.lengths(prompts))
        scored.append(tokens / (time.process_time() - started))
        prompts = [Prompt(channel.prompt(repeat, i), adapter=folder / str(i % count)) for i in range(adapted.lists)]
        started = time.process_time()
        said = engine.generate(prompts, range(len(prompts)), Sampling(1.0, 24))
        generated.append(sum(one.completion_tokens for one in said) / (time.process_time() - started))
    engine.close()
    return statistics.median(scored[1:]), statistics.median(generated[1:])
