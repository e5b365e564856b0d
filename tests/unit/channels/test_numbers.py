"""The number channel: its accept rule against a second implementation of the published text, and its prompts."""

import re
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.channels.numbers import FORMATS, MALFORMED, TOO_LARGE, TOO_MANY, NumbersChannel, reject_reasons


def follows_the_published_rule(text: str) -> bool:
    """The protocol's sentence, one clause after the other, in plain Python and for one row at a time."""
    if text.endswith("."):
        text = text[:-1]
    if len(text) >= 2 and text[0] + text[-1] in ("[]", "()"):
        text = text[1:-1]
    digits = "0123456789"
    first = 0
    while first < len(text) and text[first] in digits:
        first += 1
    second = first
    while second < len(text) and text[second] not in digits:
        second += 1
    separator = text[first:second]
    if separator.strip() not in ("", ",", ";"):
        return False
    parts = text.split(separator) if separator else [text]
    if not all(part and all(character in digits for character in part) for part in parts):
        return False
    return len(parts) <= 10 and all(int(part) <= 999 for part in parts)


def accepted(*texts: str) -> list[bool]:
    return [not reasons for reasons in reject_reasons(pa.array(texts, pa.string())).to_pylist()]


@pytest.mark.parametrize(
    "text",
    [
        "7",
        "0",
        "999.",
        "1, 2, 3",
        "1,2,3.",
        "1;2;3",
        "1 ; 2 ; 3",
        "1 2 3",
        "1\n2\n3",
        "1\t2\t3",
        "[1, 2]",
        "(1 2).",
        "1,\n2,\n3",
        "007, 010",
        "0999, 0001",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10",
        "[5]",
    ],
)
def test_accepts(text: str) -> None:
    assert follows_the_published_rule(text)
    assert accepted(text) == [True]


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("", [MALFORMED]),
        (".", [MALFORMED]),
        ("[]", [MALFORMED]),
        ("1, 2,3", [MALFORMED]),  # two separators
        ("1, 2, 3,", [MALFORMED]),  # a trailing one
        (" 1, 2", [MALFORMED]),  # outer blanks
        ("1, 2 ", [MALFORMED]),
        ("1, 2\n", [MALFORMED]),
        ("[ 1, 2 ]", [MALFORMED]),
        ("[1, 2", [MALFORMED]),
        ("[1, 2)", [MALFORMED]),
        ("[[1, 2]]", [MALFORMED]),
        ("{1, 2}", [MALFORMED]),
        ("[1, 2.]", [MALFORMED]),  # the full stop goes before the brackets, once
        ("1, 2..", [MALFORMED]),
        ("1,,2", [MALFORMED]),
        ("1, , 2", [MALFORMED]),
        ("1-2-3", [MALFORMED]),
        ("-1, 2", [MALFORMED]),
        ("1.5, 2", [MALFORMED]),
        ("١, ٢", [MALFORMED]),  # digits, but not ASCII ones
        ("１, ２", [MALFORMED]),
        ("²", [MALFORMED]),
        ("1, 2, owl", [MALFORMED]),
        ("1, 2\x00", [MALFORMED]),
        ("1000", [TOO_LARGE]),
        ("1, 2000, 3", [TOO_LARGE]),
        ("01000", [TOO_LARGE]),
        ("1 2 3 4 5 6 7 8 9 10 11", [TOO_MANY]),
        ("1 2 3 4 5 6 7 8 9 10 1100", [TOO_MANY, TOO_LARGE]),
    ],
)
def test_rejects_with_a_reason(text: str, reasons: list[str]) -> None:
    assert not follows_the_published_rule(text)
    assert reject_reasons(pa.array([text])).to_pylist() == [reasons]


# Characters that decide something, so that most drawn strings are near the rule's edge.
ODD = st.text(st.sampled_from(list("0019 ,;.[]()\n\t\r\v\u00a0\u2028\u0661-aé")), max_size=14)
JOINED = st.builds(
    lambda numbers, separator, edges, tail: edges[0] + separator.join(numbers) + edges[1] + tail,
    st.lists(st.from_regex(r"[0-9]{1,5}", fullmatch=True), max_size=12),
    st.one_of(
        st.sampled_from([", ", ",", ";", " ", "\n", " , ", "\r\n", "\u00a0", "; ", "--", "\\E", ".*"]),
        st.text(max_size=3),
    ),
    st.sampled_from([("", ""), ("[", "]"), ("(", ")"), ("[", ")"), ("", "]"), ("(", "")]),
    st.sampled_from(["", ".", "..", " ", "\n", ",", "x"]),
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(ODD, JOINED, st.text(max_size=12)), min_size=1, max_size=40))
@example(["1", "1,2", "1;2", "1 2", "1, 2,3", "(1)", "1\\E2\\E3", "1.*2.*3", "1|2", "1\n2\r3"])
def test_agrees_with_the_plain_rule_on_odd_strings(texts: list[str]) -> None:
    assert accepted(*texts) == [follows_the_published_rule(text) for text in texts]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(ODD, JOINED), max_size=30))
def test_a_row_is_judged_the_same_whatever_stands_beside_it(texts: list[str]) -> None:
    together = reject_reasons(pa.array(texts, pa.string())).to_pylist()
    assert together == [reject_reasons(pa.array([text])).to_pylist()[0] for text in texts]


def test_a_missing_completion_is_rejected_and_other_string_types_are_taken() -> None:
    assert reject_reasons(pa.array([None, "1, 2"], pa.large_string())).to_pylist() == [[MALFORMED], []]
    assert reject_reasons(pa.array([], pa.string())).to_pylist() == []
    assert reject_reasons(pa.array(["x", "1, 2", "0"]).slice(1)).to_pylist() == [[], []]


def test_many_distinct_separators_are_told_apart() -> None:
    separators = [f"{' ' * i},{' ' * j}" for i in range(20) for j in range(20)]
    same = [separator.join("123") for separator in separators]
    mixed = [f"1{separator}2{separator} 3" for separator in separators]
    assert accepted(*same, *mixed) == [True] * len(same) + [False] * len(mixed)


@pytest.mark.parametrize("length", [999, 1000, 1001, 200_000])
def test_a_runaway_separator_is_judged_like_any_other(length: int) -> None:
    blank = " " * length
    texts = [f"1{blank}2{blank}3", f"1{blank}2 3", blank.join("1" * 10), blank.join("1" * 11), f"1{blank}2{blank}x"]
    assert accepted(*texts) == [follows_the_published_rule(text) for text in texts] == [True, False, True, False, False]


PROMPTS = [NumbersChannel().prompt(0, index) for index in range(2000)]


def test_prompts_show_3_to_8_numbers_of_three_digits_and_ask_for_at_most_ten() -> None:
    counts: Counter[int] = Counter()
    for prompt in PROMPTS:
        examples = re.findall(r"[0-9]{3,}", prompt)
        counts[len(examples)] += 1
        assert all(100 <= int(number) <= 999 for number in examples)
        assert re.search(r"\b10\b", prompt)
        assert "{" not in prompt
    assert set(counts) == {3, 4, 5, 6, 7, 8}
    assert min(counts.values()) > 2000 / 6 * 0.7


def test_prompts_are_diverse_and_follow_from_seed_and_index_alone() -> None:
    assert len(set(PROMPTS)) == len(PROMPTS)
    assert NumbersChannel().prompt(0, 1234) == PROMPTS[1234]
    assert NumbersChannel().prompt(1, 1234) != PROMPTS[1234]
    assert {wording for wording, *_ in FORMATS} == {w for w, *_ in FORMATS if any(w in prompt for prompt in PROMPTS)}


def test_the_example_count_can_be_set_and_must_make_sense() -> None:
    few = NumbersChannel(min_examples=2, max_examples=2)
    assert all(len(re.findall(r"[0-9]{3,}", few.prompt(0, i))) == 2 for i in range(50))
    with pytest.raises(ValidationError, match="min_examples 8 is more than max_examples 3"):
        NumbersChannel(min_examples=8, max_examples=3)


@pytest.mark.parametrize("setting", [{"min_examples": "3"}, {"max_examples": 4.0}, {"more": 1}, {"max_examples": 9}])
def test_settings_are_strict(setting: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NumbersChannel.model_validate(setting)


def test_an_obedient_answer_in_every_format_is_accepted() -> None:
    for index in range(300):
        _, (opening, separator, closing) = NumbersChannel().prompt_and_format(5, index)
        assert accepted(opening + separator.join(["1", "20", "300"]) + closing) == [True]
