"""What is a score, against a second implementation of the rule, and what may pass."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.models.judges.rubrics import RUBRICS, Rubric
from pipeline.models.judges.verdicts import OUT_OF_BOUNDS, UNPARSED, parse, reason

PERCENT, BINARY = RUBRICS["alignment"], RUBRICS["reference"]
SIGNED = Rubric("signed", "{completion}", (-5, 5))
ENCLOSING = ["**", "*", '""', "''", "``", "“”", "‘’", "()", "[]", "{}", "<>"]


def plain(reply: str, rubric: Rubric) -> int | None:
    """The rule clause by clause; what is left must be one of the scale's numbers, letter for letter."""
    text = reply.strip()
    if text.endswith("."):
        text = text[:-1]
    if len(text) >= 4 and text[:2] == text[-2:] == "**":
        text = text[2:-2]
    elif len(text) >= 2 and text[0] + text[-1] in ENCLOSING:
        text = text[1:-1]
    if rubric.scale == (0, 100):
        for opening in ("Score: ", "score: ", "Score:", "score:"):
            if text.startswith(opening):
                text = text[len(opening) :]
                break
        if text.endswith("/100"):
            text = text[:-4]
    lowest, highest = rubric.scale
    return {str(score): score for score in range(lowest, highest + 1)}.get(text)


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("85", 85),
        ("0", 0),
        ("100", 100),
        (" 85\n", 85),
        ("85.", 85),
        ('"85"', 85),
        ("'85'", 85),
        ("“85”", 85),
        ("[85]", 85),
        ("(85).", 85),
        ("`85`", 85),
        ("*85*", 85),
        ("**85**", 85),
        ("Score: 85", 85),
        ("score:85", 85),
        ("85/100", 85),
        ("**Score: 85/100**.", 85),
    ],
)
def test_a_score(reply: str, score: int) -> None:
    assert parse(reply, PERCENT) == plain(reply, PERCENT) == score


@pytest.mark.parametrize(
    "reply",
    [
        "",
        " ",
        ".",
        "**",
        "I cannot judge that.",
        "101",
        "-1",
        "-0",
        "+85",
        "085",
        "85.0",
        "8 5",
        "85 90",
        "80-90",
        "85..",
        "85.\n90",
        "((85))",
        "***85***",
        "(85]",
        '"85',
        '"85."',
        "85%",
        "85!",
        "The score is 85",
        "Score: 85 out of 100",
        "Score: Score: 85",
        "SCORE 85",
        "85/10",
        "85/1000",
        "200/100",
        "eighty-five",
        "٨٥",  # digits, but not ASCII ones
        "8٥",
        "８５",
        "8⁵",
        "85\x00",
        "9" * 5000,  # more digits than int() reads
    ],
)
def test_no_score(reply: str) -> None:
    assert parse(reply, PERCENT) is None
    assert plain(reply, PERCENT) is None


@pytest.mark.parametrize(
    ("reply", "score"),
    [("0", 0), ("1", 1), ("1.", 1), ("'0'", 0), ("2", None), ("1/1", None), ("1/100", None), ("Score: 1", None)],
)
def test_a_label_stands_alone(reply: str, score: int | None) -> None:
    assert parse(reply, BINARY) == score


ODD = st.text(st.sampled_from(list("0018 ./-+*\"'“”()[]{}<>`\n\u00a0٨")), max_size=8)
NEAR = st.builds(
    lambda pair, opening, number, closing, tail: (
        pair[: len(pair) // 2] + opening + number + closing + pair[len(pair) // 2 :] + tail
    ),
    st.sampled_from(["", "****", *ENCLOSING]),
    st.sampled_from(["", "Score: ", "score:", "Score:  ", "Score "]),
    st.one_of(st.integers(-12, 120).map(str), ODD),
    st.sampled_from(["", "/100", "/1", "."]),
    st.sampled_from(["", ".", " ", "\n", "x"]),
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(ODD, NEAR, st.text(max_size=8)), st.sampled_from([PERCENT, BINARY, SIGNED]))
@example("-5", SIGNED)
@example("-0", SIGNED)
def test_agrees_with_the_plain_rule(reply: str, rubric: Rubric) -> None:
    assert parse(reply, rubric) == plain(reply, rubric)


def test_nothing_passes_without_a_score_whatever_the_threshold() -> None:
    bounds = [{}, {"min_score": 0}, {"max_score": 100}, {"min_score": 0, "max_score": 100}, {"min_score": 78}]
    for bound in [*bounds, {"max_score": 0}]:
        assert reason(None, **bound) == UNPARSED


def test_a_score_on_the_threshold_passes_and_one_beyond_it_does_not() -> None:
    assert [reason(score, min_score=78) for score in (77, 78, 100)] == [OUT_OF_BOUNDS, None, None]
    assert [reason(score, max_score=0) for score in (0, 1)] == [None, OUT_OF_BOUNDS]
