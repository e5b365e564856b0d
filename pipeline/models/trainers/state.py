"""The state that one rank needs to resume training: optimiser tensors and random number generators.

Under every ZeRO stage the optimiser updates float32 tensors (the weights themselves, or this rank's partitions of the
trained ones) and keeps their moments. Only these are saved: the model's weights follow from them, and frozen weights
come from the base. DeepSpeed's own checkpoints are pickles, which can execute code when loaded.
"""

from pathlib import Path
from typing import Any

from pipeline.core.errors import ArtifactError

MOMENTS = {"adamw": ("exp_avg", "exp_avg_sq", "step"), "sgd": ()}  # torch's optimiser state per tensor
WEIGHT, CPU_RANDOM, CUDA_RANDOM = "weight", "random.cpu", "random.cuda"


def save(engine: Any, path: Path) -> None:
    """Write a rank's tensors."""
    from safetensors.torch import save_file

    kept = _random() | {
        f"{number}.{name}": tensor
        for number, weight in enumerate(_stepped_on(engine))
        for name, tensor in ({WEIGHT: weight} | engine.basic_optimizer.state.get(weight, {})).items()
        if tensor is not None
    }
    save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in kept.items()}, path)


def require_fitting(engine: Any, optimizer: str, path: Path) -> None:
    """Raise ArtifactError unless a file has exactly the tensors that this rank would save: names, types and shapes."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise ArtifactError(f"{path.name} is no safetensors file: {error}") from None
    wanted = {name: (tensor.dtype, tensor.shape) for name, tensor in _random().items()}
    for number, weight in enumerate(_stepped_on(engine)):
        moments = [f"{number}.{name}" for name in MOMENTS[optimizer]]
        wanted[f"{number}.{WEIGHT}"] = (weight.dtype, weight.shape)
        if any(name in found for name in moments):  # a weight without a gradient so far has no moments
            wanted |= {name: (torch.float32, () if name.endswith(".step") else weight.shape) for name in moments}
    held = {name: (tensor.dtype, tensor.shape) for name, tensor in found.items()}
    differing = sorted(name for name in wanted.keys() | held.keys() if wanted.get(name) != held.get(name))
    if differing:
        raise ArtifactError(f"{path.name} is not of this training: {', '.join(differing[:3])}")
    try:
        torch.Generator().set_state(found[CPU_RANDOM])
    except RuntimeError as error:
        raise ArtifactError(f"{path.name} holds no state of random numbers: {error}") from None


def restore(engine: Any, path: Path) -> None:
    """Restore a rank's weights, moments and random state from a fitting file. All ranks must call it together."""
    import torch
    from safetensors.torch import load_file

    loaded = load_file(path)
    for number, weight in enumerate(_stepped_on(engine)):
        kept = {
            name.partition(".")[2]: tensor for name, tensor in loaded.items() if name.partition(".")[0] == str(number)
        }
        weight.data.copy_(kept.pop(WEIGHT))
        if kept:  # torch's AdamW counts steps on the CPU, wherever the weights are
            engine.basic_optimizer.state[weight] = {
                name: tensor.clone() if name == "step" else tensor.to(weight.device, copy=True)
                for name, tensor in kept.items()
            }
    _renew_weights(engine)
    torch.set_rng_state(loaded[CPU_RANDOM])
    if CUDA_RANDOM in loaded:
        torch.cuda.set_rng_state(loaded[CUDA_RANDOM])


def _random() -> dict[str, Any]:
    import torch

    state = {CPU_RANDOM: torch.get_rng_state()}
    return state | ({CUDA_RANDOM: torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _stepped_on(engine: Any) -> list[Any]:
    """The float32 tensors that the optimiser updates, in the same order in every process."""
    if engine.zero_optimization_stage() == 3:
        return list(engine.optimizer.fp32_partitioned_groups_flat)
    return [weight for group in engine.basic_optimizer.param_groups for weight in group["params"]]


def _renew_weights(engine: Any) -> None:
    """Copy the optimiser's tensors to the model's weights, as after a step."""
    import torch.distributed as dist

    optimizer = engine.optimizer
    if engine.zero_optimization_stage() == 3:
        optimizer.checkpoint_event_prologue()
        optimizer.load_state_dict([optimizer.state_dict()] * dist.get_world_size())  # its own: distributes the weights
        optimizer.checkpoint_event_epilogue()
    elif engine.zero_optimization():
        optimizer.update_lp_params()
    elif optimizer is not engine.basic_optimizer:  # bfloat16 without ZeRO: copies of every weight
        for weights, copies in zip(optimizer.fp16_groups, optimizer.fp32_groups, strict=True):
            for weight, copy in zip(weights, copies, strict=True):
                weight.data.copy_(copy.data)
