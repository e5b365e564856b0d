"""The micro-batch that fits in memory: from the model's shape, the longest row and the free memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import StepError

MOST_ROWS = 64  # per micro-batch, if memory sets no lower limit
BUCKET = 500_000_000  # maximum number of values that DeepSpeed reduces at once
SHARE = 0.9  # of the free memory
HEAP = 3  # memory per byte of activations on CPU, where malloc keeps fragments (measured: 2.0 to 2.7)
GIB = 1 << 30


@dataclass(frozen=True)
class Model:
    """The properties of a model that decide its memory use.

    attention: values per token over all heads. weights, trained: number of weights, and of trained ones. value_bytes:
    bytes per weight. eager: whether attention keeps its scores.
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
    """Model from a Hugging Face config; settings that it lacks default to Llama's conventions."""

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
    """Bytes per rank that do not depend on the micro-batch. loaded: whether the weights are in memory already."""
    weights = 0 if loaded else model.weights * model.value_bytes // (ranks if zero_stage == 3 else 1)
    copies = 0 if zero_stage == 0 and model.value_bytes == 4 else 4  # float32 copies for the optimiser
    stepped_on = (copies + 8) * model.trained // (ranks if zero_stage else 1)  # plus two moments each
    gradients = model.trained * model.value_bytes
    bucket = min(BUCKET, model.trained) * model.value_bytes
    return weights + stepped_on + gradients + bucket


def row_bytes(model: Model, prompt: int, completion: int, *, on_cpu: bool) -> int:
    """Bytes that one row adds: everything that autograd keeps for it, without gradient checkpointing.

    prompt, completion: columns. Per token and block: two norms with float32 inputs; queries, keys, values and the
    attention output; four tensors of the gated MLP. Per completion token: logits, their softmax and gradients. Measured
    on small Llama and Qwen2 models: 0.91 to 1.04 of the estimate for the blocks, and 12 bytes per logit.
    """
    columns = prompt + completion
    norms = 24 if model.value_bytes == 4 else 16
    block = norms * model.hidden + model.value_bytes * (5 * model.attention + 4 * model.intermediate)
    kept = columns * block * model.layers
    scores = model.heads * columns**2 * 4 * (3 * model.layers if model.eager else 1)
    logits = (completion + 1) * model.vocabulary * 16
    return int(kept * (HEAP if on_cpu else 1)) + scores + logits


def passes(rows: int, wanted: int | None, *, fixed: int, row: int, available: int) -> int:
    """Forward passes for the `rows` of one rank and optimiser step: as few as memory allows.

    wanted: the study's micro-batch, or None. fixed, row, available: bytes. Raises StepError if the micro-batch or a
    single row does not fit.
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
    """Bytes that this process can still allocate: of the machine, or of its container if that allows less."""
    lines = (line.split() for line in meminfo.read_text().splitlines())
    free = next(int(line[1]) * 1024 for line in lines if line[0] == "MemAvailable:")
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        cached = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())["inactive_file"]
    except (OSError, KeyError):
        return free  # no container, or cgroup v1
    return free if limit == "max" else min(free, int(limit) - used + int(cached))
