"""vLLM's LoRA products on CPU, one matrix product per adapter of a batch.

vLLM 0.32 copies an adapter's weights once per token. It also takes the slot of a request without an adapter, −1, for
the last slot. Here the tokens of an adapter are multiplied together, unless the matrices are small, and tokens without
one are left as they are.
"""

from typing import Any

NO_ADAPTER = -1  # vLLM's slot of a token without an adapter
COPIED_AT_MOST = 1 << 18  # numbers; copies of smaller matrices cost less than an index per adapter


def install() -> None:
    """Replace the functions that vLLM's wrapper for CPUs calls. Raises AttributeError if it has none of that name."""
    from vllm.lora.punica_wrapper import punica_cpu

    for name, function in REPLACEMENTS.items():
        getattr(punica_cpu, name)
        setattr(punica_cpu, name, function)


def shrink(inputs: Any, weights: Any, output: Any, slots: Any, scaling: float = 1.0) -> None:
    """output[t] = scaling · A[slot of t] · inputs[t], and 0 for tokens without an adapter.

    inputs (T, I); weights (slots, 1, R, I) or (slots, R, I); output (T, R); slots (T,).
    """
    found = _products(inputs, weights, slots, output.dtype)
    output[: len(found), : found.shape[1]] = scaling * found


def expand(inputs: Any, weights: Any, output: Any, slots: Any, add_inputs: bool = True) -> None:
    """output[t] += B[slot of t] · inputs[t], and nothing for tokens without an adapter; `=` without add_inputs.

    inputs (T, R); weights (slots, 1, O, R) or (slots, O, R); output (T, about O: paddings may differ); slots (T,).
    """
    expand_slice(inputs, weights, output, slots, 0, min(weights.shape[-2], output.shape[1]), add_inputs)


def expand_slice(
    inputs: Any, weights: Any, output: Any, slots: Any, offset: int, size: int, add_inputs: bool = True
) -> None:
    """As expand, into the columns [offset, offset + size) of the output."""
    found = _products(inputs, weights, slots, output.dtype)[:, :size]
    part = output[: len(found), offset : offset + size]
    if add_inputs:
        part += found
    else:
        part[:] = found


def _products(inputs: Any, weights: Any, slots: Any, dtype: Any) -> Any:
    """weights[slot of t] · inputs[t], and 0 for tokens without an adapter: (T, rows of a matrix)."""
    import torch

    inputs, matrices = inputs.to(dtype), weights.squeeze(1) if weights.dim() == 4 else weights
    present = slots.unique().tolist()
    if len(present) == 1 and present != [NO_ADAPTER]:  # of one teacher or student, as most batches are
        return inputs @ matrices[present[0]].to(dtype).T
    if len(slots) * matrices[0].numel() <= COPIED_AT_MOST:
        copies = matrices[slots.clamp(min=0)].to(dtype)
        return torch.einsum("ti,toi->to", inputs, copies) * (slots != NO_ADAPTER)[:, None]
    found = inputs.new_zeros(len(inputs), matrices.shape[1])
    for slot in present:
        if slot != NO_ADAPTER:
            rows = (slots == slot).nonzero().squeeze(1)
            found[rows] = inputs[rows] @ matrices[slot].to(dtype).T
    return found


def _by_sequence(function: Any) -> Any:
    """The same for prompts: vLLM gives slots per sequence, with the sequences' lengths."""

    def grouped(
        inputs: Any, weights: Any, output: Any, starts: Any, lengths: Any, slots: Any, batches: int, longest: int,
        tokens: int, *rest: Any,
    ) -> None:  # fmt: skip
        function(inputs, weights, output, slots.repeat_interleave(lengths), *rest)

    return grouped


REPLACEMENTS = {
    "bgmv_shrink": shrink,
    "bgmv_expand": expand,
    "bgmv_expand_slice": expand_slice,
    "sgmv_shrink": _by_sequence(shrink),
    "sgmv_expand": _by_sequence(expand),
    "sgmv_expand_slice": _by_sequence(expand_slice),
}
