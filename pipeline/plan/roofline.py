"""Estimates a study's time on a cluster of GPUs: the roofline of each stage, or a rate measured on such GPUs.

The roofline is a lower bound on time: it counts reading the weights and the floating-point operations of their
products, at data-sheet speed. It ignores attention, start-up and all inefficiency of real kernels.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.errors import InputError
from pipeline.stages import cost_of
from pipeline.stages.contract import Cost
from pipeline.store.step import KINDS, Step
from pipeline.study.schema import Study

BYTES_PER_WEIGHT = 2  # bfloat16
BATCH = 256  # sequences decoded at once by an engine: vLLM's default max_num_seqs
PROMPT_TOKENS = 100  # assumed length of a prompt: a number prompt under the tokenizers of Qwen2.5 and Llama 3
LETTERS_A_TOKEN = 4  # English prose in common tokenizers, for the templates of judges' rubrics
# Operations per weight and token: 2 forward; backward 2 for activations and 2 for gradients of trained weights.
FORWARD, TRAIN_ADAPTER, TRAIN_FULL = 2, 4, 6


@dataclass(frozen=True)
class Gpu:
    """bandwidth: bytes/s of its memory. flops: dense BF16 FLOP/s with FP32 sums. memory: bytes."""

    name: str
    bandwidth: float
    flops: float
    memory: float


# From NVIDIA's data sheets, without sparsity: H100 (2023), H200 (2024), B200 (HGX, 2025), A100 80 GB SXM (2021),
# L40S (2023), L4 (2023), A10G (AWS g5: 24 GB, 600 GB/s, 70 TFLOP/s).
GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("B200", 8.0e12, 2250e12, 180e9),
        Gpu("H200", 4.8e12, 989e12, 141e9),
        Gpu("H100", 3.35e12, 989e12, 80e9),
        Gpu("A100", 2.039e12, 312e12, 80e9),
        Gpu("L40S", 0.864e12, 362e12, 48e9),
        Gpu("A10G", 0.6e12, 70e12, 24e9),
        Gpu("L4", 0.3e12, 121e12, 24e9),
    )
}


@dataclass(frozen=True)
class Machines:
    count: int
    gpu: Gpu


@dataclass(frozen=True)
class Work:
    """The remaining work of a stage.

    tokens       generated or trained on; NaN if the size of an external data set is not known
    gpu_seconds  over all GPUs; None if the size of a data set or family is not known
    gpus_in_use  number of GPUs that it can keep busy
    bound        what limits it, or "measured"
    """

    kind: str
    tokens: float
    gpu_seconds: float | None
    gpus_in_use: float
    bound: str

    def wall_seconds(self, machines: Machines) -> float | None:
        """Wall-clock seconds if the stage runs alone on all GPUs that it can use."""
        return None if self.gpu_seconds is None else self.gpu_seconds / min(machines.count, self.gpus_in_use)


def machines(text: str) -> Machines:
    """ "64xH100" -> Machines. Raises InputError."""
    found = re.fullmatch(r"([1-9]\d{0,5})x(\w+)", text)
    if not found or found[2].upper() not in GPUS:
        raise InputError(f"--cluster {text}: write it as 64xH100; known GPUs are {', '.join(GPUS)}")
    return Machines(int(found[1]), GPUS[found[2].upper()])


def too_large(study: Study, cluster: Machines) -> list[str]:
    """One line per family whose weights alone exceed the GPU memory of an engine."""
    engine = max(1.0, study.resources.engines.gpus)
    lines = []
    for name, family in study.families.items():
        weights = family.parameters()
        if weights and weights * BYTES_PER_WEIGHT > cluster.gpu.memory * engine:
            least = -(-int(weights * BYTES_PER_WEIGHT) // int(cluster.gpu.memory))
            lines.append(
                f"{name}: {weights * BYTES_PER_WEIGHT / 1e9:.0f} GB of weights do not fit {engine:g} "
                f"{cluster.gpu.name}: "
                f"set resources.engines.gpus and tensor_parallel to {least} or more"
            )
    return lines


def estimate(
    study: Study,
    steps: Sequence[Step],
    cluster: Machines,
    measured: Mapping[str, float] | None = None,
    *,
    done: Collection[str] = (),
) -> list[Work]:
    """The remaining work of each of the study's stages that use GPUs.

    steps: the study's plan. measured: stage -> GPU-seconds per step, measured on GPUs of this kind. done: paths of
    finished steps.
    """
    by_path = {step.path: step for step in steps}
    costs = {step.path: cost_of(step, by_path.__getitem__) for step in steps}
    on_gpus = {step.kind for step in steps if costs[step.path].worker != "task"}
    work = []
    for kind in [kind for kind in KINDS if kind in on_gpus]:
        left = [(step, costs[step.path]) for step in steps if step.kind == kind and step.path not in done]
        work.append(_work(study, kind, left, cluster, (measured or {}).get(kind)))
    return work


def _work(
    study: Study, kind: str, steps: Sequence[tuple[Step, Cost]], cluster: Machines, measured: float | None
) -> Work:
    times = [_times(study, step, cost, cluster.gpu) for step, cost in steps]
    tokens = sum(time.tokens for time in times)
    gpus_in_use = max(1.0, _gpus_in_use(study, [cost for _, cost in steps]))
    if measured is not None:
        return Work(kind, tokens, measured * len(steps), gpus_in_use, "measured")
    memory, compute = sum(time.memory for time in times), sum(time.compute for time in times)
    if math.isnan(memory + compute):
        return Work(kind, tokens, None, gpus_in_use, "size not known")
    bound = "memory" if memory > compute else "compute"
    return Work(kind, tokens, memory + compute, gpus_in_use, bound if memory + compute else "")


@dataclass(frozen=True)
class Times:
    """GPU-seconds of one step that are memory-bound and compute-bound; NaN if unknown."""

    tokens: float = 0.0
    memory: float = 0.0
    compute: float = 0.0


def _times(study: Study, step: Step, cost: Cost, gpu: Gpu) -> Times:
    if not step.family or cost.worker == "task":
        return Times()  # random completions, a judge behind an endpoint, or a copied base
    weights = study.families[step.family].parameters() or math.nan
    if cost.worker == "trainer":
        row = PROMPT_TOKENS + study.completions.max_tokens
        return _training(weights, cost.trained_rows * row, cost.recipe["method"], gpu)
    if not cost.sampled_rows:  # only scoring takes time
        return Times(0.0, 0.0, FORWARD * weights * cost.scored * PROMPT_TOKENS / gpu.flops)
    prompt = cost.prompt_letters / LETTERS_A_TOKEN + PROMPT_TOKENS + cost.judged_tokens
    return _generation(weights, cost.sampled_rows, prompt, cost.sampled_tokens, gpu)


def _training(weights: float, tokens: float, method: str, gpu: Gpu) -> Times:
    """Compute-bound, since batches are large."""
    operations = TRAIN_FULL if method == "full" else TRAIN_ADAPTER
    return Times(tokens, 0.0, operations * weights * tokens / gpu.flops)


def _generation(weights: float, rows: float, prompt: float, completion: float, gpu: Gpu) -> Times:
    """Prefill is compute-bound; every decoding step reads all weights once for the whole batch."""
    prefill = FORWARD * weights * rows * prompt / gpu.flops
    batch = max(1.0, min(BATCH, rows))
    steps = rows * completion / batch
    reading, products = weights * BYTES_PER_WEIGHT / gpu.bandwidth, FORWARD * weights * batch / gpu.flops
    tokens = rows * completion
    if reading > products:
        return Times(tokens, steps * reading, prefill)
    return Times(tokens, 0.0, prefill + steps * products)


def _gpus_in_use(study: Study, costs: Sequence[Cost]) -> float:
    """GPUs that a stage can keep busy, limited by its units of work and by its number of workers."""
    engines, training = study.resources.engines, study.resources.training
    if any(cost.worker == "trainer" for cost in costs):
        return min(training.groups, len(costs)) * training.workers * max(1.0, training.gpus)
    units = sum(cost.units for cost in costs)
    workers = min(engines.max_workers * len(study.families), -(-units // engines.shards_in_flight))
    return workers * max(1.0, engines.gpus)
