"""The traits a teacher can have: one file per trait, and one entry per trait in `Trait`."""

from typing import Annotated

from pydantic import Tag

from pipeline.core.settings import by_kind
from pipeline.traits.behaviour import Behaviour
from pipeline.traits.favourite import Favourite

NEUTRAL, RANDOM = "neutral", "random"  # writers without a trait: a plain model, and a random program

Trait = Annotated[
    Annotated[Favourite, Tag("favourite")] | Annotated[Behaviour, Tag("behaviour")],
    by_kind("favourite"),
]
