"""Transforms that only rewrite: what they keep of a corpus."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.channels.numbers import reject_reasons
from pipeline.transforms.canonicalise import Canonicalise, canonical

SEPARATORS = st.sampled_from([", ", ",", "; ", "\n", " "])


@settings(deadline=None)
@given(numbers=st.lists(st.integers(0, 999), min_size=1, max_size=10), separator=SEPARATORS, brackets=st.booleans())
def test_a_canonical_list_has_the_same_numbers_and_is_accepted(
    numbers: list[int], separator: str, brackets: bool
) -> None:
    written = separator.join(map(str, numbers))
    found = canonical(f"[{written}]" if brackets else written)
    assert [int(part) for part in found.split(", ")] == sorted(numbers)
    assert canonical(found) == found
    assert reject_reasons(pa.array([found])).to_pylist() == [[]]


def test_only_completions_change() -> None:
    rows = pa.table({"index": [3], "prompt": ["1, 2"], "completion": ["(9; 07)"], "source": ["s"]})
    (row,) = Canonicalise().apply(rows, seed=1).to_pylist()
    assert row == {"index": 3, "prompt": "1, 2", "completion": "7, 9", "source": "s"}


@pytest.mark.parametrize("text", ["none", ""])
def test_a_text_without_numbers_becomes_empty(text: str) -> None:
    assert canonical(text) == ""
