"""What every family has, and may leave as it is here."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self
from zlib import crc32

import pyarrow as pa

from pipeline.core.recipe import Recipe
from pipeline.core.settings import Settings


@dataclass(frozen=True)
class Pretraining:
    """rows: schemas.CONVERSATIONS. recipe: how they are trained on. seed: of the order of the rows."""

    rows: pa.Table
    recipe: Recipe
    seed: int


class BaseFamily(Settings):
    """Writes the model that its teachers and students start from.

    COPIED  whether its files are somebody else's, and so read again until the base is finished
    CHECKS  part of a base's id: raised when files that counted before would be refused, or used otherwise
    """

    COPIED: ClassVar[bool] = False
    CHECKS: ClassVar[int] = 1

    kind: str

    def write(self, model: Path) -> None:
        """Write the model into a new folder, in Hugging Face's layout; where it is pretrained, before that."""
        raise NotImplementedError

    def pretraining_rows(self) -> int:
        """How many rows it is pretrained on here; 0 where it is not."""
        return 0

    def pretraining_recipe(self) -> Recipe | None:
        """How it is pretrained here; None where it is not."""
        return None

    def pretraining(self) -> Pretraining | None:
        """That recipe and its rows."""
        return None

    def chat_sample(self) -> str:
        """How a sample row reaches the model, where that is known before the model is."""
        return "as in the snapshot"

    def origin(self) -> str:
        """Where its files come from, for messages; "" where they are made here."""
        return ""

    def parameters(self) -> float | None:
        """Number of weights, where the settings tell."""
        return None

    def known_channels(self) -> Collection[str] | None:
        """The channels that its models know; None where any is known."""
        return None

    def known_targets(self, category: str) -> Collection[str] | None:
        """The members of a category that its models know; None where any is known."""
        return None

    def seed_of_fake(self) -> int:
        """Seed of the fake model that stands for it."""
        return crc32(self.model_dump_json().encode())

    def absolute(self) -> Self:
        """The same with local paths in full: workers have working directories of their own."""
        return self

    def smoke(self, changes: dict[str, Any]) -> Self | None:
        """The nano family, with these settings, that stands for it in a smoke test; None where another kind must."""
        return None
