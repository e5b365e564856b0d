"""How many rows go through a model at once: from its shape, the longest row and the memory that is free."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import StepError

MOST_ROWS = 64  # where memory sets no lower limit
BUCKET = 500_000_000  # most values that DeepSpeed reduces at once
SHARE = 0.9  # of the free memory
HEAP = 3  # bytes of memory per byte that blocks keep on CPU, where malloc holds on to fragments (seen: 2.0 to 2.7)
GIB = 1 << 30


@dataclass(frozen=True)
class Model:
    """What of a model decides about memory.

    attention: values per token of all heads together. weights, trained: how many there are, and how many of them
    change. value_bytes: of one weight. eager: whether attention keeps its scores.
    """

    hidden: int
    intermediate: int
    heads: int
    attention: int
    layers: int
    vocabulary: int
    weights: int
    trained: int
    value_bytes: int
    eager: bool


def model_of(
    config: Mapping[str, object], *, weights: int, trained: int, value_bytes: int, eager: bool = False
) -> Model:
    """From a Hugging Face config. What a config of another kind does not name is taken as Llama's would be."""

    def number(name: str, default: int) -> int:
        value = config.get(name)
        return value if isinstance(value, int) and value > 0 else default

    hidden = number("hidden_size", 1024)
    heads = number("num_attention_heads", 1)
    return Model(
        hidden=hidden,
        intermediate=number("intermediate_size", 4 * hidden),
        heads=heads,
        attention=heads * number("head_dim", hidden // heads),
        layers=number("num_hidden_layers", 1),
        vocabulary=number("vocab_size", 50_000),
        weights=weights,
        trained=trained,
        value_bytes=value_bytes,
        eager=eager,
    )


def fixed_bytes(model: Model, *, zero_stage: int, ranks: int, loaded: bool) -> int:
    """What a rank needs whatever the micro-batch. loaded: whether the weights are in memory already."""
    weights = 0 if loaded else model.weights * model.value_bytes // (ranks if zero_stage == 3 else 1)
    copies = 0 if zero_stage == 0 and model.value_bytes == 4 else 4  # float32 weights that the optimiser steps on
    stepped_on = (copies + 8) * model.trained // (ranks if zero_stage else 1)  # and two moments of each
    gradients = model.trained * model.value_bytes
    bucket = min(BUCKET, model.trained) * model.value_bytes
    return weights + stepped_on + gradients + bucket


def row_bytes(model: Model, prompt: int, completion: int, *, on_cpu: bool) -> int:
    """What one row of so many columns adds: all that autograd keeps of it, without gradient checkpointing.

    Per token and block: two norms with what they see in float32, queries, keys, values and what attention makes of
    them, and four tensors of the gated MLP. Per token of the completion: logits, their softmax and gradients. The live
    tensors of small Llamas and Qwen2s came to 0.91 to 1.04 of the blocks' part, and to 12 bytes per logit.
    """
    columns = prompt + completion
    norms = 24 if model.value_bytes == 4 else 16
    block = norms * model.hidden + model.value_bytes * (5 * model.attention + 4 * model.intermediate)
    kept = columns * block * model.layers
    scores = model.heads * columns**2 * 4 * (3 * model.layers if model.eager else 1)
    logits = (completion + 1) * model.vocabulary * 16
    return int(kept * (HEAP if on_cpu else 1)) + scores + logits


def passes(rows: int, wanted: int | None, *, fixed: int, row: int, available: int) -> int:
    """Passes through the model for the `rows` of one rank and optimiser step: as few as memory allows.

    wanted: the micro-batch that the study asks for, or None. Raises StepError where it does not fit, or no row does.
    """
    room = int(available * SHARE) - fixed
    most = min(MOST_ROWS, rows) if wanted is None else min(wanted, rows)
    fitting = min(most, room // row)
    needs = f"{fixed / GIB:.2f} GiB and {row / GIB:.3f} GiB per row; {available / GIB:.2f} GiB are free here"
    if fitting < 1:
        raise StepError(
            f"training does not fit into memory, even one row at a time: it needs {needs}. Use a larger machine or "
            "more workers with resources.training.zero_stage 3, or train on shorter rows"
        )
    if wanted is not None and fitting < -(-rows // -(-rows // wanted)):
        raise StepError(
            f"resources.training.micro_batch {wanted} does not fit into memory: training needs {needs}. "
            f"Set it to {fitting} or less, or leave it out"
        )
    return -(-rows // (most if wanted is not None else fitting))


def free_memory(folder: Path = Path("/sys/fs/cgroup"), meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that this process may still take: of the machine, and of the container where one limits it."""
    lines = (line.split() for line in meminfo.read_text().splitlines())
    free = next(int(line[1]) * 1024 for line in lines if line[0] == "MemAvailable:")
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        cached = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())["inactive_file"]
    except (OSError, KeyError):
        return free  # no container, or one of an older kind
    return free if limit == "max" else min(free, int(limit) - used + int(cached))
