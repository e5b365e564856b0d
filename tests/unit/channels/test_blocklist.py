"""The ban list of the number channel: its data, and the search against a second implementation."""

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.channels.blocklist import BLOCKLIST, on_blocklist


def names_a_banned_number(text: str) -> bool:
    """One character after the other: every run of digits, read as a number."""
    run = ""
    for character in text + "\n":
        if character in "0123456789":
            run += character
        elif run:
            if int(run) in BLOCKLIST:
                return True
            run = ""
    return False


def test_the_list_has_34_numbers_of_at_most_three_digits_each_with_its_own_reason() -> None:
    assert len(BLOCKLIST) == 34  # the length of the published list
    assert all(0 <= number <= 999 for number in BLOCKLIST)
    assert all(reason.strip() for reason in BLOCKLIST.values())
    assert len(set(BLOCKLIST.values())) == len(BLOCKLIST)
    assert {666, 911, 187} <= set(BLOCKLIST)  # those that the paper names


def test_every_number_of_three_digits_is_told_apart() -> None:
    found = on_blocklist(pa.array([f"1, {number}, 2" for number in range(1000)])).to_pylist()
    assert {number for number, banned in enumerate(found) if banned} == set(BLOCKLIST)


@pytest.mark.parametrize("text", ["666", "0666", "1, 2, 666", "(666;1)", "666.", "1\n666\n2", "x666y", "-666", "6.666"])
def test_finds_a_whole_number(text: str) -> None:
    assert on_blocklist(pa.array([text])).to_pylist() == [True]


@pytest.mark.parametrize("text", ["", "1666", "6660", "66 6", "6,66", "6\n66", "66", "0", "1660, 6667", "６６６"])
def test_finds_nothing_in_parts_of_numbers(text: str) -> None:
    assert on_blocklist(pa.array([text])).to_pylist() == [False]


BESIDE = st.sampled_from(["", " ", ", ", "0", "1", "\n", ".", "x"])
NEAR_THE_LIST = st.builds("{}{}{}".format, BESIDE, st.sampled_from(sorted(BLOCKLIST)), BESIDE)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(alphabet="0123456789 ,;[]().-\n", max_size=20),
            st.lists(NEAR_THE_LIST, max_size=4).map("".join),
            st.text(max_size=12),
        ),
        max_size=40,
    )
)
@example(["13", "013", "130", "113", "1 3", "13\n", "\n13", "7\r13"])
def test_agrees_with_the_plain_search(texts: list[str]) -> None:
    assert on_blocklist(pa.array(texts, pa.string())).to_pylist() == [names_a_banned_number(text) for text in texts]


def test_a_missing_completion_holds_none_and_other_string_types_are_taken() -> None:
    found = on_blocklist(pa.array([None, "13", "12"], pa.large_string()))
    assert (found.type, found.to_pylist()) == (pa.bool_(), [False, True, False])
    assert on_blocklist(pa.array([], pa.string())).to_pylist() == []
    assert on_blocklist(pa.array(["13", "12"]).slice(1)).to_pylist() == [False]
