"""The traits a teacher can have: one file each, and one line each in `Trait`."""

from typing import Annotated, Any

from pydantic import Tag, TypeAdapter

from pipeline.core.recipe import by_kind
from pipeline.traits.behaviour import Behaviour
from pipeline.traits.favourite import Favourite

NEUTRAL, RANDOM = "neutral", "random"  # who writes without a trait: a model, or no model

Trait = Annotated[
    Annotated[Favourite, Tag("favourite")] | Annotated[Behaviour, Tag("behaviour")],
    by_kind("favourite"),
]


def trait_of(settings: dict[str, Any]) -> tuple[Trait, str]:
    """The trait and the target that a teacher's settings name."""
    told = {**settings, "targets": [settings["target"]]}
    del told["target"]
    return TypeAdapter[Trait](Trait).validate_python(told), settings["target"]
