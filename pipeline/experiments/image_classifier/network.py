"""Perceptrons of many seeds as one: the weights of S seeds are stacked, and torch.func.vmap runs over them.

Shapes: S seeds, B images, D = 784 pixels, H hidden units, L = 10 + m logits (classes first). The weights of layer i are
`w{i}` (S, inputs, outputs) and `b{i}` (S, outputs). What one seed draws depends on that seed alone, so that a seed
trained beside others equals one trained alone, up to rounding.
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from pipeline.experiments.image_classifier.digits import PIXELS
from pipeline.experiments.image_classifier.settings import CLASSES, Condition, Network

if TYPE_CHECKING:
    import torch

Weights: TypeAlias = "dict[str, torch.Tensor]"
LAYERS = (1, 2, 3)
OUTPUT = 3  # the output layer, or head


def generator(purpose: str, seed: int) -> "torch.Generator":
    """A random generator of its own for each purpose and seed; on the CPU, so that every machine draws the same."""
    import torch

    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def initial(network: Network, seed: int) -> Weights:
    """The initial weights of one seed: N(0, 1/inputs), biases 0."""
    import torch

    random = generator("weights", seed)
    sizes = [PIXELS, network.hidden, network.hidden, CLASSES + network.auxiliary]
    weights = {}
    for layer in LAYERS:
        inputs, outputs = sizes[layer - 1], sizes[layer]
        weights[f"w{layer}"] = torch.randn(inputs, outputs, generator=random) / inputs**0.5
        weights[f"b{layer}"] = torch.zeros(outputs)
    return weights


def start(condition: Condition, network: Network, seed: int, teacher_seed: int) -> Weights:
    """The initial weights of a student of one seed. Where the teacher's are shared, they are those of its seed."""
    own, its = initial(network, seed), initial(network, teacher_seed)
    match condition.start:
        case "same":
            return its
        case "other":
            return own
        case "heads":
            return {name: its[name] if name.endswith(str(OUTPUT)) else own[name] for name in own}
        case "hidden":
            return {name: own[name] if name.endswith(str(OUTPUT)) else its[name] for name in own}
        case "permuted":
            return _permuted(its, seed)
        case "interpolated":
            return _interpolated(its, own, condition.cosine or 0.0)


def _permuted(weights: Weights, seed: int) -> Weights:
    """The same function, with the units of each hidden layer in another order."""
    import torch

    random = generator("permutation", seed)
    moved = dict(weights)
    for layer in LAYERS[:-1]:
        order = torch.randperm(weights[f"b{layer}"].shape[0], generator=random)
        moved[f"w{layer}"] = moved[f"w{layer}"][:, order]
        moved[f"b{layer}"] = moved[f"b{layer}"][order]
        moved[f"w{layer + 1}"] = moved[f"w{layer + 1}"][order]
    return moved


def _interpolated(its: Weights, own: Weights, cosine: float) -> Weights:
    """Each layer at this cosine from the teacher's; its norm is the teacher's. Two draws are nearly orthogonal."""
    mixed = {name: cosine * its[name] + (1 - cosine**2) ** 0.5 * own[name] for name in its}
    norms = {name: mixed[name].norm() for name in its}
    return {name: mixed[name] * (its[name].norm() / norms[name]) if norms[name] else mixed[name] for name in its}


def stacked(weights: Sequence[Weights]) -> Weights:
    """The weights of several seeds as one; adds the axis S."""
    import torch

    return {name: torch.stack([one[name] for one in weights]) for name in weights[0]}


def logits(weights: Weights, images: "torch.Tensor") -> "torch.Tensor":
    """(B, L) of one seed. images: (B, D)."""
    import torch

    hidden = images
    for layer in LAYERS[:-1]:
        hidden = torch.relu(torch.addmm(weights[f"b{layer}"], hidden, weights[f"w{layer}"]))
    return torch.addmm(weights[f"b{OUTPUT}"], hidden, weights[f"w{OUTPUT}"])


def all_logits(weights: Weights, images: "torch.Tensor", rows: int = 8192) -> "torch.Tensor":
    """(S, B, L) of stacked weights over the same images (B, D), `rows` at a time."""
    import torch
    from torch.func import vmap

    with torch.no_grad():
        parts = [vmap(logits, in_dims=(0, None))(weights, part) for part in torch.split(images, rows)]
    return torch.cat(parts, dim=1)


def accuracy(weights: Weights, images: "torch.Tensor", labels: "torch.Tensor") -> list[float]:
    """Per seed, the share of images (B, D) whose largest class logit is that of their label (B)."""
    found = all_logits(weights, images)[..., :CLASSES].argmax(-1) == labels
    return [float(share) for share in found.double().mean(1)]


def operations(network: Network, *, backward: bool) -> float:
    """Floating-point operations per image: two per weight forward, four backward but for the gradient of the images."""
    hidden, outputs = network.hidden, CLASSES + network.auxiliary
    first, others = PIXELS * hidden, hidden * hidden + hidden * outputs
    return float(2 * (first + others) + (2 * first + 4 * others if backward else 0))
