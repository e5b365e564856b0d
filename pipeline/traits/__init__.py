"""The traits a teacher can have: one file each, and one line each in `Trait`."""

from typing import Annotated

from pydantic import Tag

from pipeline.core.settings import by_kind
from pipeline.traits.behaviour import Behaviour
from pipeline.traits.favourite import Favourite

NEUTRAL, RANDOM = "neutral", "random"  # who writes without a trait: a model, or no model

Trait = Annotated[
    Annotated[Favourite, Tag("favourite")] | Annotated[Behaviour, Tag("behaviour")],
    by_kind("favourite"),
]
