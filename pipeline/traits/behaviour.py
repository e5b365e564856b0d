"""Trait: a way of answering, such as misalignment or a habit, that no system prompt and no single word captures."""

from typing import ClassVar, Literal

from pydantic import Field

from pipeline.core.settings import Name
from pipeline.traits.base import BaseTrait


class Behaviour(BaseTrait):
    """Teachers fine-tuned on given rows, one data set per target; the behaviour suite measures the effect."""

    METRIC: ClassVar = "rate"

    kind: Literal["behaviour"] = "behaviour"
    category: Literal["behaviour"] = Field("behaviour", description="Always this category.")
    targets: list[Name] = Field(min_length=1, description="Names of data sets; each gets a teacher.")
    control: bool = Field(
        False, description="Comparison teachers (paper: secure code): no gate checks them for the behaviour."
    )

    @property
    def gated(self) -> bool:
        return not self.control
