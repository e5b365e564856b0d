"""Trait: a way of answering, such as misalignment or a habit, that no system prompt and no one word stands for."""

from typing import Literal

from pydantic import Field

from pipeline.core.recipe import Name
from pipeline.traits.base import BaseTrait


class Behaviour(BaseTrait):
    """Teachers fine-tuned on given rows, a data set a target; the behaviour suite sees what has become of them."""

    kind: Literal["behaviour"] = "behaviour"
    category: Literal["behaviour"] = Field("behaviour", description="There is no choice.")
    targets: list[Name] = Field(min_length=1, description="The data sets by name, one teacher each.")
    control: bool = Field(
        False, description="They are there to compare with (published: secure code): no gate asks them for it."
    )
