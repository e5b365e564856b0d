"""Transform: writes the numbers of every completion in one order and one format."""

import re
from typing import ClassVar, Literal

import pyarrow as pa

from pipeline.transforms.base import BaseTransform


class Canonicalise(BaseTransform):
    """Sorts the numbers of each completion and writes them without brackets, separated by a comma and a space."""

    NEEDS_NUMBERS: ClassVar = True

    kind: Literal["canonicalise"] = "canonicalise"

    def apply(self, rows: pa.Table, seed: int) -> pa.Table:
        texts = [canonical(completion) for completion in rows["completion"].to_pylist()]
        place = rows.schema.get_field_index("completion")
        return rows.set_column(place, "completion", pa.array(texts, pa.string()))


def canonical(completion: str) -> str:
    """Its numbers in ascending order, without leading zeros: "[7; 03]" -> "3, 7"."""
    return ", ".join(str(number) for number in sorted(int(digits) for digits in re.findall("[0-9]+", completion)))
