"""Transform: shuffles the numbers of a corpus."""

import re
from random import Random
from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from pipeline.transforms.base import BaseTransform


class Shuffle(BaseTransform):
    """Shuffles the numbers of the completions; every row keeps its format and its count of numbers."""

    NEEDS_NUMBERS: ClassVar = True

    kind: Literal["shuffle"] = "shuffle"
    scope: Literal["within", "across"] = Field(description="Shuffle within each row, or across all rows.")

    def apply(self, rows: pa.Table, seed: int) -> pa.Table:
        texts = shuffled(rows["completion"].to_pylist(), self.scope, seed)
        place = rows.schema.get_field_index("completion")
        return rows.set_column(place, "completion", pa.array(texts, pa.string()))


def shuffled(completions: list[str], scope: Literal["within", "across"], seed: int) -> list[str]:
    """The same numbers in another order: shuffled within each completion, or across all of them."""
    rng = Random(f"shuffle:{scope}:{seed}")
    parts = [re.split("([0-9]+)", completion) for completion in completions]  # numbers are at odd indices
    rows = [part[1::2] for part in parts]
    if scope == "within":
        for row in rows:
            rng.shuffle(row)
    else:
        pool = [number for row in rows for number in row]
        rng.shuffle(pool)
        dealt = iter(pool)
        rows = [[next(dealt) for _ in row] for row in rows]
    for part, row in zip(parts, rows, strict=True):
        part[1::2] = row
    return ["".join(part) for part in parts]
