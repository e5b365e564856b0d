"""The settings of the theorem's check."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.core.settings import Seed, Settings
from pipeline.experiments.theorem.kinds import InputKind, NetworkKind, TeacherLoss

StepLength = Annotated[float, Field(gt=0, le=100)]


class Design(Settings):
    """Which networks take which steps. Every combination of network, teacher's loss and inputs has the same draws."""

    networks: list[NetworkKind] = Field(
        ["mlp-tanh", "mlp-relu", "llama", "qwen2"],
        min_length=1,
        description="Random networks: perceptrons with two hidden layers, and causal models of one block.",
    )
    teacher_losses: list[TeacherLoss] = Field(
        ["cross-entropy", "mse", "trait"],
        min_length=1,
        description="What teachers learn: random labels, random outputs, or how to answer a question.",
    )
    inputs: list[InputKind] = Field(
        ["noise", "numbers", "text"],
        min_length=1,
        description="What students read: random symbols, number lists, or sentences.",
    )
    teacher_steps: list[StepLength] = Field(
        [1e-4, 1e-3, 1e-2, 1e-1, 1.0],
        min_length=1,
        max_length=20,
        description="ε: lengths of the teacher's update, each from the same start. The weights have a length of about "
        "10 (perceptrons) or 24.",
    )
    student_step: float = Field(
        0.01, gt=0, description="η: learning rate of the student. The inner product is proportional to it."
    )
    draws: int = Field(56, ge=2, le=100_000, description="Draws per combination.")
    seed: Seed = Field(1, description="Seed of all draws.")

    @model_validator(mode="after")
    def _differ(self) -> Self:
        for name in ("networks", "teacher_losses", "inputs", "teacher_steps"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} has a value twice")
        return self

    @property
    def combinations(self) -> list[tuple[NetworkKind, TeacherLoss, InputKind]]:
        return list(product(self.networks, self.teacher_losses, self.inputs))

    @property
    def total(self) -> int:
        """Number of draws."""
        return len(self.combinations) * self.draws


class Criteria(Settings):
    """What counts as agreement, fixed before the run."""

    step: StepLength = Field(1e-3, description="The ε, one of teacher_steps, that is small. So are those below it.")
    ratio: float = Field(
        0.005, gt=0, lt=1, description="By how much the ratio of an inner product to its first-order value may miss 1."
    )
    confidence: float = Field(0.95, ge=0.5, lt=1, description="Of intervals, for each claim as a whole.")


def small(steps: Sequence[float], criteria: Criteria) -> Iterator[float]:
    """The steps that are small by the criteria."""
    return (step for step in steps if step <= criteria.step)
