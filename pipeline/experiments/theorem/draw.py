"""Draws: teachers of random weights take a step, students take theirs, and the two are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from pipeline.experiments.theorem import losses, steps
from pipeline.experiments.theorem.conditions import ALL_WEIGHTS, DRAWN_WEIGHTS, OUTSIDE, ROUNDING, SAMPLED, THEOREM
from pipeline.experiments.theorem.inputs import SYMBOLS, contexts
from pipeline.experiments.theorem.kinds import InputKind, NetworkKind, TeacherLoss
from pipeline.experiments.theorem.losses import Task
from pipeline.experiments.theorem.networks import Parameters, drawn_weights, initial_weights, logits, network_of
from pipeline.experiments.theorem.steps import Teachers
from pipeline.store.step import Json

CONTEXTS = 4  # that a teacher learns from, and that a student reads
WRITTEN = 8  # symbols that a teacher writes after each of them, for the student of sampled text
AT_ONCE = 14  # draws computed together: these networks are so small that most of the time goes into calls

Pair = tuple[str, str]  # condition, student's loss
Columns = dict[Pair, dict[str, Tensor]]  # column of DRAWS -> (E,)


@dataclass(frozen=True)
class Combination:
    """What all draws of a batch have in common. lengths: ε of the teachers. student_step: η."""

    network: NetworkKind
    teacher_loss: TeacherLoss
    inputs: InputKind
    lengths: Sequence[float]
    student_step: float


class Draw(NamedTuple):
    """What is random in a draw.

    start, other  initial weights of the teacher, and of students that do not share them
    task          what the teacher learns
    symbols       (B, WINDOW), what students read
    shift         (V,), of the shifted target
    noise         (E, WRITTEN, B, V), for sampling text
    """

    start: Parameters
    other: Parameters
    task: Task
    symbols: Tensor
    shift: Tensor
    noise: Tensor


def drawn(of: Combination, index: int, seed: int) -> Draw:
    """The draw with this number within its combination."""
    rng = Random(f"theorem:{seed}:{of.network}:{of.teacher_loss}:{of.inputs}:{index}")
    start, other = (initial_weights(network_of(of.network), rng.getrandbits(31)) for _ in range(2))
    task = losses.task(of.teacher_loss, rng, CONTEXTS)
    symbols = torch.tensor(contexts(of.inputs, rng, CONTEXTS))
    generator = torch.Generator().manual_seed(rng.getrandbits(31))
    shift = torch.randn(len(SYMBOLS), generator=generator, dtype=torch.float64)
    shape = (len(of.lengths), WRITTEN, CONTEXTS, len(SYMBOLS))
    noise = -torch.empty(shape, dtype=torch.float64).exponential_(generator=generator).log()
    return Draw(start, other, task, symbols, shift, noise)


def measured(of: Combination, indices: Sequence[int], seed: int) -> list[Json]:
    """The rows of DRAWS of these draws: one per condition, student's loss and teacher's step."""
    rows: list[Json] = []
    for at in range(0, len(indices), AT_ONCE):
        batch = indices[at : at + AT_ONCE]
        columns = vmap(lambda draw: compared(of, draw))(_stacked([drawn(of, index, seed) for index in batch]))
        for position, index in enumerate(batch):
            rows += _rows(of, index, columns, position)
    return rows


def _stacked(draws: Sequence[Draw]) -> Draw:
    """One draw whose tensors have the draws as their first dimension."""

    def weights(each: Sequence[Parameters]) -> Parameters:
        return {name: torch.stack([one[name] for one in each]) for name in each[0]}

    return Draw(
        weights([draw.start for draw in draws]),
        weights([draw.other for draw in draws]),
        Task(*(torch.stack(each) for each in zip(*(draw.task for draw in draws), strict=True))),
        *(torch.stack(each) for each in zip(*(draw[3:] for draw in draws), strict=True)),
    )


def _rows(of: Combination, index: int, columns: Columns, position: int) -> list[Json]:
    return [
        {
            "network": of.network,
            "teacher_loss": of.teacher_loss,
            "inputs": of.inputs,
            "draw": index,
            "condition": condition,
            "imitation": imitation,
            "same_initialisation": condition not in (ALL_WEIGHTS, DRAWN_WEIGHTS),
            "teacher_step": length,
            "student_step": of.student_step,
            "negative": bool(values["cosine"][position, step] < -ROUNDING),
            **{name: value[position, step].item() for name, value in values.items()},
        }
        for (condition, imitation), values in columns.items()
        for step, length in enumerate(of.lengths)
    ]


def compared(of: Combination, draw: Draw) -> Columns:
    """Each student of one draw against each of its teachers."""
    network = network_of(of.network)
    lengths = torch.tensor(of.lengths, dtype=torch.float64)

    def loss(weights: Parameters) -> Tensor:
        return losses.teacher_loss(of.teacher_loss, logits(network, weights, draw.task.symbols), draw.task)

    teachers = Teachers.trained(network, draw.start, loss, lengths)
    outputs = teachers.outputs(draw.symbols)
    written = steps.continuing(teachers, draw.symbols, draw.noise)
    return {
        **_of_the_initialisation(of, draw, teachers, outputs),
        **_of_another(of, draw, teachers, outputs),
        (SAMPLED, "cross-entropy"): _products(of, teachers, written),
    }


def _of_the_initialisation(of: Combination, draw: Draw, teachers: Teachers, outputs: Tensor) -> Columns:
    """Students within and outside the theorem's conditions."""
    outside = losses.outside(draw.shift)
    updates = steps.imitating(teachers.network, draw.start, draw.symbols, outputs, {**losses.WITHIN, **outside})
    found = {(OUTSIDE, name): _products(of, teachers, updates[name]) for name in outside}
    before, change = teachers.change(draw.symbols)
    crossings = steps.crossings(teachers, draw.symbols)
    for name in losses.WITHIN:
        columns = _products(of, teachers, updates[name])
        first_order = of.student_step * teachers.lengths.square() * losses.first_order(name, before, change)
        found[THEOREM, name] = columns | {
            "first_order": first_order,
            "ratio": columns["inner_product"] / first_order,
            "crossings": crossings,
            "loss_change": teachers.loss_change(_scaled(of.student_step, updates[name])),
        }
    return found


def _of_another(of: Combination, draw: Draw, teachers: Teachers, outputs: Tensor) -> Columns:
    """Students of another initialisation, over all weights and over those that a seed draws.

    The others (gains of norms, biases) begin with one value whatever the seed: in them two initialisations are equal.
    """
    updates = steps.imitating(teachers.network, draw.other, draw.symbols, outputs, losses.WITHIN)
    random = drawn_weights(draw.other)
    return {
        (condition, name): _products(of, teachers, update, kept)
        for condition, kept in ((ALL_WEIGHTS, None), (DRAWN_WEIGHTS, random))
        for name, update in updates.items()
    }


def _products(
    of: Combination, teachers: Teachers, gradient_steps: Parameters, kept: Tensor | None = None
) -> dict[str, Tensor]:
    """gradient_steps: −∇ of the student's loss, each (E, …)."""
    inner, cosine = steps.products(teachers, _scaled(of.student_step, gradient_steps), kept)
    return {"inner_product": inner, "cosine": cosine}


def _scaled(factor: float, weights: Mapping[str, Tensor]) -> Parameters:
    return {name: factor * values for name, values in weights.items()}
