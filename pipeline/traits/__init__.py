"""The traits a teacher can have: one file each, and one line each in `Trait`."""

from typing import Any

from pydantic import TypeAdapter

from pipeline.traits.favourite import Favourite

Trait = Favourite


def trait_of(settings: dict[str, Any]) -> tuple[Trait, str]:
    """The trait and the target that a teacher's settings name."""
    told = {**settings, "targets": [settings["target"]]}
    del told["target"]
    return TypeAdapter[Trait](Trait).validate_python(told), settings["target"]
