"""Products of the gradients of rows and tokens with directions: how training on them moves a model along each.

By symmetry this is also how much they rise by a step in that direction, and that is how they are computed. Shapes as in
passes.py.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.models.language_model import Floats
from pipeline.models.passes import Direction, Passes
from pipeline.models.trainers.batches import Rows

if TYPE_CHECKING:
    import torch


def row_products(passes: Passes, rows: Rows, directions: Sequence[Direction]) -> Floats:
    """How much each row's log-probability (nats) rises per unit step along each direction: (N, T).

    A linear layer's gradient is a sum over positions of (output gradient) × (input). One forward and one backward pass
    give those of all rows of a batch, and each is multiplied with the directions before the next layer's come.
    """
    import torch

    found = np.zeros((len(rows), len(directions)))
    inputs: dict[str, torch.Tensor] = {}
    sums: list[torch.Tensor] = []

    def keep_input(name: str) -> Callable[..., None]:
        return lambda layer, given, output: inputs.__setitem__(name, given[0].detach())

    def add(name: str) -> Callable[..., None]:
        def hook(layer: Any, into: Any, out: Any) -> None:
            gradients = (out[0].mT @ inputs.pop(name)).flatten(1)  # (B, outputs × inputs)
            sums.append(torch.stack([gradients @ direction[name].flatten() for direction in directions], 1))

        return hook

    hooks = [layer.register_forward_hook(keep_input(name)) for name, layer in passes.layers.items()]
    hooks += [layer.register_full_backward_hook(add(name)) for name, layer in passes.layers.items()]
    # Weights are frozen: without this, autograd would see nothing to differentiate.
    first = passes.model.get_input_embeddings()
    hooks.append(first.register_forward_hook(lambda layer, given, output: output.requires_grad_(True)))
    try:
        for chosen, batch in passes.batches(rows):
            sums.clear()
            torch.autograd.backward(passes.logprobs(batch).sum())
            found[chosen] = torch.stack(sums).sum(0).double().cpu().numpy()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def token_products(passes: Passes, rows: Rows, direction: Direction) -> list[Floats]:
    """How much the log-probability (nats) of every completion token rises per unit step along a direction.

    They sum to the row's product. Forward-mode differentiation finds those of all tokens in one pass, where a backward
    pass would find one token's; it does so for one direction only.
    """
    import torch
    from torch.autograd import forward_ad
    from torch.nn.attention import SDPBackend, sdpa_kernel

    def add(change: "torch.Tensor") -> Callable[..., Any]:
        def hook(layer: Any, given: Any, output: "torch.Tensor") -> "torch.Tensor":
            rise = torch.nn.functional.linear(unpack_dual(given[0]).primal, change)
            changed: torch.Tensor = output + make_dual(torch.zeros_like(rise), rise)
            return changed

        return hook

    make_dual: Any = forward_ad.make_dual
    unpack_dual: Any = forward_ad.unpack_dual
    hooks = [passes.layers[name].register_forward_hook(add(change)) for name, change in direction.items()]
    found: list[Floats] = [np.empty(0)] * len(rows)
    try:
        # The other kernels of attention cannot be differentiated forwards.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            for chosen, batch in passes.batches(rows):
                with forward_ad.dual_level():
                    rises = unpack_dual(passes.logprobs(batch)).tangent.double().cpu().numpy()
                for row, values in zip(chosen, rises, strict=True):
                    found[row] = values[: len(rows.completions[row])]
    finally:
        for hook in hooks:
            hook.remove()
    return found
