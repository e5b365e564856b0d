"""The base class of transforms, with defaults."""

from collections.abc import Collection, Mapping
from typing import ClassVar, Self

import pyarrow as pa

from pipeline.core.settings import Settings


class BaseTransform(Settings):
    """corpus -> corpus. The shares select the rows first; then every transform of an arm is applied, in order.

    NEEDS_NUMBERS  whether it can only be applied to number channels
    """

    NEEDS_NUMBERS: ClassVar[bool] = False

    kind: str

    def teachers(self) -> Mapping[str, float]:
        """Share of the rows (of 1) that come from each other teacher; the rest are the teacher's own."""
        return {}

    def apply(self, rows: pa.Table, seed: int) -> pa.Table:
        """schemas.CORPUS -> schemas.CORPUS. seed: of the study."""
        return rows

    def among(self, teachers: Collection[str]) -> Self | None:
        """The transform restricted to these teachers; None if nothing is left of it."""
        return self
