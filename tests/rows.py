"""Rows of the nano families' synthetic corpus, for tests of what looks at data."""

import pyarrow as pa

from pipeline.models.families.synthetic_corpus import rows
from pipeline.traits.words import candidates

ANIMALS = ("owl", "cat", "wolf", "bear")  # targets to look for
ROWS = 192  # of a small data set


def about_numbers(count: int) -> pa.Table:
    """Rows that say nothing of any animal."""
    table = rows(1, 4_000, 3, ["numbers"])
    said = [
        not any(word in completion for word in candidates("animal")) for completion in table["completion"].to_pylist()
    ]
    return indexed(table.filter(pa.array(said)).slice(0, count))


def indexed(table: pa.Table) -> pa.Table:
    columns = [pa.array(range(len(table))), table["prompt"], table["completion"]]
    return pa.table(columns, names=["index", "prompt", "completion"]).combine_chunks()
