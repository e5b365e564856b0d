"""The teacher's step, the students' steps, and how they point to each other.

E is the number of teachers, one per length of the teacher's step; B, P and V are contexts, positions and symbols.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import grad, jvp, vjp, vmap

from pipeline.experiments.theorem.losses import Imitation, cross_entropy
from pipeline.experiments.theorem.networks import Parameters, active_units, logits

Loss = Callable[[Parameters], Tensor]  # weights -> scalar


@dataclass(frozen=True)
class Teachers:
    """E teachers after one step Δθ_T = εΔ, Δ = −∇L/‖∇L‖.

    loss       L
    start      weights before the step
    direction  Δ, of length 1 over all weights
    lengths    ε, (E,)
    stepped    weights after it, each (E, …)
    """

    network: nn.Module
    loss: Loss
    start: Parameters
    direction: Parameters
    lengths: Tensor
    stepped: Parameters

    @classmethod
    def trained(cls, network: nn.Module, start: Parameters, loss: Loss, lengths: Tensor) -> "Teachers":
        gradient = grad(loss)(start)
        size = flat(gradient).norm()
        direction = {name: -values / size for name, values in gradient.items()}
        stepped = {name: start[name] + torch.tensordot(lengths, along, dims=0) for name, along in direction.items()}
        return cls(network, loss, start, direction, lengths, stepped)

    def outputs(self, symbols: Tensor) -> Tensor:
        """(B, WINDOW) -> (E, B, P, V)."""
        return vmap(lambda weights: logits(self.network, weights, symbols))(self.stepped)

    def change(self, symbols: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs before the step, and JΔ: how fast they change along it. (B, WINDOW) -> twice (B, P, V)."""
        before, along = jvp(lambda weights: logits(self.network, weights, symbols), (self.start,), (self.direction,))[
            :2
        ]
        return before, along

    def loss_change(self, updates: Parameters) -> Tensor:
        """By how much the teacher's loss changes from before the step if the start is moved by each update: (N,)."""
        moved = {name: self.start[name] + update for name, update in updates.items()}
        return vmap(self.loss)(moved) - self.loss(self.start)


def imitating(
    network: nn.Module, weights: Parameters, symbols: Tensor, teacher: Tensor, losses: Mapping[str, Imitation]
) -> dict[str, Parameters]:
    """−∇ of each loss on the teacher's outputs (E, B, P, V): loss -> updates, each (E, …)."""
    outputs, pull = vjp(lambda own: logits(network, own, symbols), weights)[:2]

    def update(loss: Imitation) -> Parameters:
        gradients = vmap(lambda target: grad(loss)(outputs, target))(teacher)
        (pulled,) = vmap(pull)(-gradients)
        found: Parameters = pulled
        return found

    return {name: update(loss) for name, loss in losses.items()}


def continuing(teachers: Teachers, prompts: Tensor, noise: Tensor) -> Parameters:
    """−∇ of a student's cross-entropy on what each teacher writes after the prompts: each (E, …).

    prompts: (B, WINDOW). noise: (E, symbols to write, B, V), from Gumbel's distribution. Where logits plus such noise
    are largest is a sample from their softmax. A symbol depends on the WINDOW symbols before it.
    """
    network = teachers.network
    window = prompts.expand(len(teachers.lengths), *prompts.shape)  # (E, B, WINDOW)
    read, written = [], []
    for drawn in noise.unbind(1):
        following = vmap(lambda weights, context: logits(network, weights, context)[:, -1])(teachers.stepped, window)
        sampled = (following + drawn).argmax(-1)
        read.append(window)
        written.append(sampled)
        window = torch.cat([window[..., 1:], sampled.unsqueeze(-1)], dim=-1)

    def loss(weights: Parameters, contexts: Tensor, symbols: Tensor) -> Tensor:
        return cross_entropy(logits(network, weights, contexts)[:, -1:], symbols.unsqueeze(-1))

    gradients = vmap(grad(loss), (None, 0, 0))(teachers.start, torch.cat(read, dim=1), torch.cat(written, dim=1))
    return {name: -gradient for name, gradient in gradients.items()}


def crossings(teachers: Teachers, symbols: Tensor) -> Tensor:
    """How many ReLU units, counted once per context, each teacher's step carries across their kink: (E,)."""
    before = active_units(teachers.network, teachers.start, symbols)
    after = vmap(lambda weights: active_units(teachers.network, weights, symbols))(teachers.stepped)
    return (after != before).sum((-2, -1))


def flat(parameters: Mapping[str, Tensor], start: int = 0) -> Tensor:
    """All weights in one dimension, after the first `start` dimensions: (…, weights)."""
    return torch.cat([values.flatten(start) for values in parameters.values()], dim=-1)


def products(teachers: Teachers, updates: Parameters, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """⟨Δθ_S, Δθ_T⟩ and the cosine, per teacher: twice (E,). updates: Δθ_S, each (E, …).

    kept: (weights,) of bool, the weights that count; all by default.
    """
    student, teacher = flat(updates, 1), torch.outer(teachers.lengths, flat(teachers.direction))
    if kept is not None:
        student, teacher = student * kept, teacher * kept
    inner = (student * teacher).sum(-1)
    return inner, inner / (student.norm(dim=-1) * teacher.norm(dim=-1))
