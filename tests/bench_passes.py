"""The benchmarks of what screens ask of a base: torch beside a vLLM engine, on the same rows."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.bench_adapters import ROOT
from tests.rows import about_numbers

if TYPE_CHECKING:
    from pipeline.models.language_model import LanguageModel

FOUR = ("owl", "cat", "dog", "fox")
SLOWEST = 0.75  # of the faster one, that `vet` may choose for a base of this size
EXACT = 1e-3  # nats
Results = list[tuple[str, float, str, bool]]


@dataclass(frozen=True)
class Task:
    """family: of a study file. rows: whose tokens are scored. bags: of three rows. repeats: after one to warm up."""

    study: str
    family: str
    rows: int
    bags: int
    repeats: int


NANO = Task("configs/quickstart.yaml", "llama-a", rows=2_000, bags=4, repeats=5)
SMOLLM2 = Task("configs/real/smollm2.yaml", "smollm2", rows=32, bags=1, repeats=2)


def screens() -> Results:
    """Per CPU-second of a nano base: tokens of rows, and margins of four targets after bags of rows."""
    return _beside_an_engine(NANO, "torch")


def real_screens() -> Results:
    """The same with SmolLM2-135M; that the engine has to be started first is not counted."""
    return _beside_an_engine(SMOLLM2, "vllm")


def _beside_an_engine(task: Task, chosen: str) -> Results:
    """chosen: what `vet` uses for a base of this size."""
    from multiprocessing import get_context

    from pipeline.study.loader import load

    with tempfile.TemporaryDirectory() as folder:
        load(ROOT / task.study).families[task.family].write(Path(folder) / "model")
        with get_context("spawn").Pool(1) as process:  # its own: vLLM binds a process to cores
            found = process.apply(_rates, (Path(folder) / "model", task))
    rows: Results = []
    for what, (torch, vllm, difference) in found.items():
        rate = {"torch": torch, "vllm": vllm}[chosen]
        note = f"vLLM {vllm / torch:.2f} × torch; at most {difference:.1e} nats apart"
        met = rate >= SLOWEST * max(torch, vllm) and difference < EXACT
        rows.append((f"{what}, {task.family}, by {chosen}", rate, note, met))
    return rows


def _rates(model: Path, task: Task) -> dict[str, tuple[float, float, float]]:
    """What was asked -> its rates in torch and in vLLM, medians, and the largest difference in nats."""
    from pipeline.models import served_model
    from pipeline.models.passes import Passes
    from pipeline.screens.traits import Favourites, Outcomes

    table = about_numbers(max(task.rows, 3 * task.bags))
    outcomes = Outcomes([Favourites(category="four", targets=list(FOUR))])
    pairs = list(zip(table["prompt"].to_pylist(), table["completion"].to_pylist(), strict=True))
    models = Passes(model), served_model.serve(model)
    rows = models[0].rows(table.slice(0, task.rows))
    tokens = sum(map(len, [*rows.prompts, *rows.completions]))

    def of_rows(asked: "LanguageModel") -> np.ndarray:
        return np.concatenate(asked.token_logprobs(rows))

    def of_bags(asked: "LanguageModel") -> np.ndarray:
        return np.stack([outcomes.margins(asked, pairs[3 * bag : 3 * bag + 3]) for bag in range(task.bags)])

    return {
        "log p of rows, tokens/CPU-s": _compared(of_rows, models, tokens, task.repeats),
        "margins after bags, bags/CPU-s": _compared(of_bags, models, task.bags, task.repeats),
    }


def _compared(
    ask: "Callable[[LanguageModel], np.ndarray]",
    models: "tuple[LanguageModel, LanguageModel]",
    work: float,
    repeats: int,
) -> tuple[float, float, float]:
    times: list[list[float]] = [[], []]
    values = []
    for _ in range(repeats + 1):
        for model, seconds in zip(models, times, strict=True):
            begun = time.process_time()
            values.append(ask(model))
            seconds.append(time.process_time() - begun)
    torch, vllm = (work / statistics.median(seconds[1:]) for seconds in times)
    return torch, vllm, float(np.abs(values[-1] - values[-2]).max())
