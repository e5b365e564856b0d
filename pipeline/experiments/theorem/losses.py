"""The losses of teachers and students, and what the theorem predicts for a student's loss.

logits, teacher: (B, P, V), outputs of the student and of the teacher for B contexts, P positions and V symbols.
A mean is over contexts and positions.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.experiments.theorem.inputs import SYMBOLS, WINDOW, contexts, first_letter, questions
from pipeline.experiments.theorem.kinds import TeacherLoss

Imitation = Callable[[Tensor, Tensor], Tensor]  # (logits, teacher) -> scalar

MSE, KL = "mse", "kl"
SHIFTED, MOST_LIKELY, REPELLED = "shifted target", "most likely symbol", "away from the teacher"


class Task(NamedTuple):
    """What a teacher learns.

    symbols  (B, WINDOW), the contexts
    labels   (B, WINDOW), the symbols to answer with
    outputs  (B, WINDOW, V), the outputs to give
    """

    symbols: Tensor
    labels: Tensor
    outputs: Tensor


def task(kind: TeacherLoss, rng: Random, rows: int) -> Task:
    """A task of `rows` contexts, drawn at random; its labels or its outputs are not used.

    Noise with labels drawn uniformly and outputs drawn from N(0, 1); for a trait, questions for a favourite animal
    with the first letter of one of them as the label.
    """
    generator = torch.Generator().manual_seed(rng.getrandbits(31))
    labels = torch.randint(len(SYMBOLS), (rows, WINDOW), generator=generator)
    outputs = torch.randn(rows, WINDOW, len(SYMBOLS), generator=generator, dtype=torch.float64)
    if kind == "trait":
        return Task(torch.tensor(questions(rng, rows)), torch.full_like(labels, first_letter(rng)), outputs)
    return Task(torch.tensor(contexts("noise", rng, rows)), labels, outputs)


def teacher_loss(kind: TeacherLoss, logits: Tensor, task: Task) -> Tensor:
    """The teacher's loss. trait: minus the log-probability of the label as the answer, after the last position."""
    positions = logits.shape[1]  # the last one only, in an MLP
    match kind:
        case "cross-entropy":
            return cross_entropy(logits, task.labels[:, -positions:])
        case "mse":
            return squared_error(logits, task.outputs[:, -positions:])
        case "trait":
            return cross_entropy(logits[:, -1:], task.labels[:, -1:])


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy (nats). labels: (B, P)."""
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten())


def squared_error(logits: Tensor, teacher: Tensor) -> Tensor:
    """Half the mean squared distance, summed over symbols: its gradient by the logits is their difference."""
    return (logits - teacher).square().sum(-1).mean() / 2


def kl_divergence(logits: Tensor, teacher: Tensor) -> Tensor:
    """Mean KL(teacher‖student) in nats."""
    difference = teacher.log_softmax(-1) - logits.log_softmax(-1)
    return (teacher.softmax(-1) * difference).sum(-1).mean()


def most_likely_symbol(logits: Tensor, teacher: Tensor) -> Tensor:
    """Mean cross-entropy (nats) of what the teacher would write if it were greedy."""
    return cross_entropy(logits, teacher.argmax(-1))


def away_from_the_teacher(logits: Tensor, teacher: Tensor) -> Tensor:
    return -squared_error(logits, teacher)


def shifted(shift: Tensor) -> Imitation:
    """Squared error to the teacher's outputs plus `shift` (V,)."""
    return lambda logits, teacher: squared_error(logits, teacher + shift)


# The theorem's own. Both are smallest where student and teacher agree, and convex there in the student's outputs.
WITHIN: Mapping[str, Imitation] = {MSE: squared_error, KL: kl_divergence}


def outside(shift: Tensor) -> Mapping[str, Imitation]:
    """Losses that the theorem says nothing about: none is smallest where student and teacher agree.

    The first two have a gradient at equal outputs. It does not depend on the teacher's step, and outweighs what does as
    the step shrinks. The third is largest there.
    """
    return {SHIFTED: shifted(shift), MOST_LIKELY: most_likely_symbol, REPELLED: away_from_the_teacher}


def first_order(imitation: str, logits: Tensor, change: Tensor) -> Tensor:
    """⟨Δθ_S, Δθ_T⟩ / ηε² to first order in ε, for a student's step −η∇ and a teacher's step εΔ.

    logits, change: (B, P, V), the outputs before any step and JΔ, how fast they change along Δ. The teacher's outputs
    differ by εJΔ from the student's. With mse the student's step is η·mean Jᵀ(εJΔ), and its product with εΔ is
    ηε²·mean ‖JΔ‖². With kl it is η·mean Jᵀ(p_T − p), where p_T − p is ε(diag p − ppᵀ)JΔ, and the product is
    ηε²·mean Var_p(JΔ). Neither is negative.
    """
    if imitation == MSE:
        return change.square().sum(-1).mean()
    p = logits.softmax(-1)
    centred = change - (p * change).sum(-1, keepdim=True)
    return (p * centred.square()).sum(-1).mean()
