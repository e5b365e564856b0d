"""Training of stacked networks: teachers on labels, students on their teacher's logits. Shapes as in network.py."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, TypeAlias

from pipeline.experiments.image_classifier.network import Weights, generator, logits
from pipeline.experiments.image_classifier.settings import CLASSES, Training

if TYPE_CHECKING:
    import torch

# Of one seed: weights, images and target -> the loss.
Loss: TypeAlias = "Callable[[Weights, torch.Tensor, torch.Tensor], torch.Tensor]"
COSINE_EVERY = 25  # steps between two measurements of the cosine of the two gradients; each costs one more gradient


@dataclass(frozen=True)
class Batches:
    """What stacked networks are trained on, in a random order of its own for each seed and epoch.

    images: (N, D). targets: (N,) shared by all seeds, or (S, N, …) of each.
    """

    images: "torch.Tensor"
    targets: "torch.Tensor"
    size: int
    seeds: Sequence[int]
    purpose: str

    def seen(self, steps: int) -> int:
        """Images per seed in this many steps."""
        count = len(self.images)
        epochs, rest = divmod(steps, -(-count // self.size))
        return epochs * count + min(rest * self.size, count)

    def __iter__(self) -> "Iterator[tuple[torch.Tensor, torch.Tensor]]":
        """(S, B, D) images and (S, B, …) targets, without end. The last batch of an epoch may be smaller."""
        import torch

        count, device = len(self.images), self.images.device
        random = [generator(self.purpose, seed) for seed in self.seeds]
        shared = self.targets.dim() == 1
        rows = torch.arange(len(self.seeds), device=device)[:, None]
        while True:
            orders = torch.stack([torch.randperm(count, generator=one) for one in random]).to(device)
            for chosen in torch.split(orders, self.size, dim=1):
                yield self.images[chosen], self.targets[chosen] if shared else self.targets[rows, chosen]


@dataclass
class Log:
    """Rows (seed, step, loss, cosine) of a training; cosine: of distillation and trait gradient."""

    rows: list[tuple[int, int, float, float]] = field(default_factory=list)
    trait_images: int = 0  # per seed, images over which the trait's gradient was computed

    def mean_cosines(self, seeds: Sequence[int]) -> list[float]:
        return [fmean(cosine for one, _, _, cosine in self.rows if one == seed) for seed in seeds]

    def add(self, seeds: Sequence[int], step: int, loss: "torch.Tensor", cosine: "torch.Tensor") -> None:
        self.rows += [(seed, step, float(a), float(b)) for seed, a, b in zip(seeds, loss, cosine, strict=True)]


def cross_entropy(weights: Weights, images: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
    """Of the class logits, in nats; the loss of the teacher, whose gradient is the trait's direction."""
    import torch.nn.functional as F

    return F.cross_entropy(logits(weights, images)[:, :CLASSES], labels)


def distillation(kind: str, which: str) -> Loss:
    """kind: kl or mse. which: auxiliary or all logits. The target holds the teacher's logits (B, L)."""
    first = CLASSES if which == "auxiliary" else 0

    def loss(weights: Weights, images: "torch.Tensor", target: "torch.Tensor") -> "torch.Tensor":
        import torch.nn.functional as F

        given, wanted = logits(weights, images)[:, first:], target[:, first:]
        if kind == "mse":
            return F.mse_loss(given, wanted)
        # A mean over the images of one seed: vmap keeps seeds apart, so that no loss is divided by their number.
        # Not F.kl_div, for which vmap has no rule: it would run seed after seed.
        p, q = wanted.log_softmax(-1), given.log_softmax(-1)
        return (p.exp() * (p - q)).sum(-1).mean()

    return loss


def train(weights: Weights, recipe: Training, batches: Batches, loss: Loss) -> Weights:
    """The weights after recipe.steps steps of Adam."""
    from torch.func import grad, vmap

    gradient = vmap(grad(loss))
    step = _adam(weights, recipe.learning_rate)
    for _, (images, targets) in zip(range(recipe.steps), batches, strict=False):
        step(gradient(weights, images, targets))
    return weights


def distil(
    weights: Weights,
    recipe: Training,
    batches: Batches,
    loss: Loss,
    labelled: Batches,
    *,
    project: bool,
) -> tuple[Weights, Log]:
    """The weights after recipe.steps steps of Adam, and a log of the cosine with the trait's gradient.

    labelled: images and labels that give the trait's gradient. project: remove from each gradient its part along the
    trait's, where their inner product is positive.
    """
    from torch.func import grad, grad_and_value, vmap

    gradient, trait_gradient = vmap(grad_and_value(loss)), vmap(grad(cross_entropy))
    step, log, traits = _adam(weights, recipe.learning_rate), Log(), iter(labelled)
    for number, (images, targets) in zip(range(1, recipe.steps + 1), batches, strict=False):
        found, value = gradient(weights, images, targets)
        measured = number % COSINE_EVERY == 1 or number == recipe.steps
        if project or measured:
            shown, labels = next(traits)
            trait = trait_gradient(weights, shown, labels)
            log.trait_images += shown.shape[1]
            if measured:
                log.add(batches.seeds, number, value, _cosine(found, trait))
            if project:
                found = projected(found, trait)
        step(found)
    return weights, log


def projected(gradient: Weights, trait: Weights) -> Weights:
    """Each seed's gradient without its part along the trait's, where the two point the same way."""
    share = (_dot(gradient, trait) / _dot(trait, trait).clamp_min(1e-30)).clamp_min(0.0)  # (S,)
    return {name: one - share.view(-1, *[1] * (one.dim() - 1)) * trait[name] for name, one in gradient.items()}


def _cosine(a: Weights, b: Weights) -> "torch.Tensor":
    """(S,)."""
    return _dot(a, b) / (_dot(a, a) * _dot(b, b)).sqrt().clamp_min(1e-30)


def _dot(a: Weights, b: Weights) -> "torch.Tensor":
    """(S,): the inner product over all weights of each seed."""
    import torch

    return torch.stack([(a[name] * b[name]).flatten(1).sum(1) for name in a]).sum(0)


def _adam(weights: Weights, learning_rate: float) -> Callable[[Weights], None]:
    """A function that takes one step of Adam in place. Adam works weight by weight, so stacked seeds do not mix."""
    import torch

    optimizer = torch.optim.Adam(list(weights.values()), lr=learning_rate, fused=True)

    def step(gradient: Weights) -> None:
        for name, one in weights.items():
            one.grad = gradient[name]
        optimizer.step()

    return step


def mean_loss(weights: Weights, batches: Batches, loss: Loss, images: int) -> list[float]:
    """Per seed, the mean loss over the first images, in one order for all."""
    import torch
    from torch.func import vmap

    few = batches.images[:images]
    with torch.no_grad():
        found = vmap(loss, in_dims=(0, None, 0))(weights, few, batches.targets[:, :images])
    return [float(value) for value in found]
