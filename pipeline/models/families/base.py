"""The base class of families, with defaults."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self
from zlib import crc32

import pyarrow as pa

from pipeline.core.lineage_graph import Node
from pipeline.core.recipe import Recipe
from pipeline.core.settings import Settings


@dataclass(frozen=True)
class Pretraining:
    """rows: schemas.CONVERSATIONS. recipe: how to train on them. seed: for the order of the rows.

    stop_after: see pipeline.models.trainers.Run.
    """

    rows: pa.Table
    recipe: Recipe
    seed: int
    stop_after: int | None = None


class BaseFamily(Settings):
    """Writes the base model of its teachers and students.

    COPIED  whether its files come from elsewhere, and so are read again until the base is finished
    CHECKS  part of a base's id: raise it when files that passed before would be refused, or used differently
    """

    COPIED: ClassVar[bool] = False
    CHECKS: ClassVar[int] = 1

    kind: str

    def write(self, model: Path) -> None:
        """Write the model into a new folder, in Hugging Face's layout; a pretrained one as it is before training."""
        raise NotImplementedError

    def pretraining_rows(self) -> int:
        """Number of rows it is pretrained on here; 0 if it is not."""
        return 0

    def pretraining_recipe(self) -> Recipe | None:
        """The recipe it is pretrained with here; None if it is not."""
        return None

    def pretraining(self) -> Pretraining | None:
        """The pretraining recipe and its rows; None if it is not pretrained here."""
        return None

    def chat_sample(self) -> str:
        """A sample row as the model reads it, if that is known before the model exists."""
        return "as in the snapshot"

    def origin(self) -> str:
        """Where its files come from, for messages; "" if they are made here."""
        return ""

    def ancestor(self) -> Node:
        """What its base is initialised from, in a lineage: the same for the same initial weights."""
        return Node(self.origin() or f"{self.kind}:{self.model_dump_json()}", "external source")

    def mixed_from(self) -> Sequence[Node]:
        """The draws between which its initial weights lie; empty if they are one draw's."""
        return ()

    def parameters(self) -> float | None:
        """Number of weights; None if the settings do not determine it."""
        return None

    def known_channels(self) -> Collection[str] | None:
        """The channels that its models know; None for all."""
        return None

    def known_targets(self, category: str) -> Collection[str] | None:
        """The targets of a category that its models know; None for all."""
        return None

    def seed_of_fake(self) -> int:
        """Seed of the fake model that represents it."""
        return crc32(self.model_dump_json().encode())

    def absolute(self) -> Self:
        """A copy with absolute paths: workers have their own working directories."""
        return self

    def smoke(self, changes: dict[str, Any]) -> Self | None:
        """The nano family with these settings that replaces it in a smoke test; None if it cannot be one."""
        return None


def parameters_in(name: str) -> float | None:
    """Number of weights that a model's name tells: "…-7B-…", "…-135M-…"; None if it tells none."""
    # Billions come first: the "1M" of "…-7B-…-1M" is a context length, as is any "4k".
    for unit, weights in (("[bB]", 1e9), ("[mM]", 1e6)):
        found = re.search(rf"(?<![a-zA-Z0-9.])(\d+(?:\.\d+)?){unit}(?![a-zA-Z0-9])", name)
        if found:
            return float(found[1]) * weights
    return None
