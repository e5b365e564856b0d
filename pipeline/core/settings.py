"""The base class of every section of a study file and every step spec: strict, frozen settings with an identity."""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
)


@dataclass(frozen=True)
class NotInId:
    """Marks a field that does not enter ids, as in `path: Annotated[str, NotInId()]`.

    while_default: leave it out only while it has its default. Use this for a setting added later, so that existing
    artifacts keep their ids (docs/decisions/0008-later-settings.md).
    """

    while_default: bool = False


# Context for dumping an identity and reading it back; its values were validated when the user gave them.
STORED = {"for": "an artifact's identity"}


class Settings(BaseModel):
    """An unknown key is an error, values are not coerced, instances are frozen."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def identity(self) -> dict[str, Any]:
        """What an id depends on, as JSON values: every field except those marked NotInId."""
        return self.model_dump(context=STORED)

    @classmethod
    def from_identity(cls, stored: Any) -> Any:
        """The settings with this identity; fields outside it have their defaults."""
        return cls.model_validate(stored, context=STORED)

    @model_serializer(mode="wrap")
    def _without_marked(self, dump: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        dumped: dict[str, Any] = dump(self)
        for name, mark in _marks(type(self)).items() if is_stored(info.context) else ():
            if not mark.while_default or getattr(self, name) == _default(type(self), name):
                del dumped[name]
        return dumped


def is_stored(context: Any) -> bool:
    """Whether settings are dumped to, or read from, an artifact's identity."""
    return context is STORED


@cache
def _marks(kind: type[BaseModel]) -> dict[str, NotInId]:
    return {
        name: mark for name, field in kind.model_fields.items() for mark in field.metadata if isinstance(mark, NotInId)
    }


def _default(kind: type[BaseModel], name: str) -> Any:
    return kind.model_fields[name].get_default(call_default_factory=True)


def by_kind(default: str) -> Discriminator:
    """Discriminates a union by `kind`; settings without one are of the default kind."""
    return Discriminator(
        lambda given: given.get("kind", default) if isinstance(given, dict) else getattr(given, "kind", default)
    )


# Artifact folders, dashboard labels and command lines all contain these names.
Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(?:[._-][a-z0-9]+)*$", max_length=48)]

# Fits every random generator that is seeded with it, and an int64 column.
Seed = Annotated[int, Field(ge=0, lt=2**31)]
