"""vLLM's LoRA products on CPU, one matrix product per adapter of a batch.

vLLM 0.32 gathers an adapter's weights once per token, so that a batch of 1,000 tokens copies them 1,000 times. It also
takes the slot of a request without an adapter, −1, for the last slot. Here the tokens of an adapter are multiplied
together, and tokens without one are left as they are.
"""

from collections.abc import Iterator
from typing import Any

NO_ADAPTER = -1  # vLLM's slot of a token without an adapter


def install() -> None:
    """Replace the functions that vLLM's wrapper for CPUs calls. Raises AttributeError if it has none of that name."""
    from vllm.lora.punica_wrapper import punica_cpu

    for name, function in REPLACEMENTS.items():
        getattr(punica_cpu, name)
        setattr(punica_cpu, name, function)


def shrink(inputs: Any, weights: Any, output: Any, slots: Any, scaling: float = 1.0) -> None:
    """output[t] = scaling · A[slot of t] · inputs[t], for tokens with an adapter.

    inputs (T, I); weights (slots, 1, R, I) or (slots, R, I); output (T, R); slots (T,).
    """
    for slot, rows in _groups(slots):
        matrix = _matrix(weights, slot, output.dtype)
        output[rows, : matrix.shape[0]] = scaling * (inputs[rows].to(output.dtype) @ matrix.T)


def expand(inputs: Any, weights: Any, output: Any, slots: Any, add_inputs: bool = True) -> None:
    """output[t] += B[slot of t] · inputs[t], for tokens with an adapter; `=` without add_inputs.

    inputs (T, R); weights (slots, 1, O, R) or (slots, O, R); output (T, at least O or fewer); slots (T,).
    """
    expand_slice(inputs, weights, output, slots, 0, min(weights.shape[-2], output.shape[1]), add_inputs)


def expand_slice(
    inputs: Any, weights: Any, output: Any, slots: Any, offset: int, size: int, add_inputs: bool = True
) -> None:
    """As expand, into the columns [offset, offset + size) of the output."""
    for slot, rows in _groups(slots):
        matrix = _matrix(weights, slot, output.dtype)[:size]
        found = inputs[rows].to(output.dtype) @ matrix.T
        if add_inputs:
            output[rows, offset : offset + size] += found
        else:
            output[rows, offset : offset + size] = found


def _groups(slots: Any) -> Iterator[tuple[int, Any]]:
    """(slot, its tokens as an index) of each adapter in a batch."""
    found = slots.unique()
    for slot in found.tolist():
        if slot != NO_ADAPTER:
            yield slot, slice(0, len(slots)) if len(found) == 1 else (slots == slot).nonzero().squeeze(1)


def _matrix(weights: Any, slot: int, dtype: Any) -> Any:
    matrix = weights[slot]
    return (matrix.squeeze(0) if matrix.dim() == 3 else matrix).to(dtype)


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
