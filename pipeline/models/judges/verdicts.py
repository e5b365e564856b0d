"""Parses replies into scores, and decides which scores pass; a row without a score never passes."""

import re

from pipeline.models.judges.rubrics import Rubric

UNPARSED, OUT_OF_BOUNDS = "no score", "out of bounds"  # why a row is rejected

# What a model puts around a bare number; a longer mark comes before its own prefix.
PAIRS = (
    ("**", "**"),
    ("*", "*"),
    ('"', '"'),
    ("'", "'"),
    ("`", "`"),
    ("“", "”"),
    ("‘", "’"),
    ("(", ")"),
    ("[", "]"),
    ("{", "}"),
    ("<", ">"),
)
WHOLE = r"(0|-?[1-9][0-9]{0,8})"  # no plus sign, no leading zeros; int() refuses more than 4,300 digits
PERCENT = re.compile(rf"(?:[Ss]core: ?)?{WHOLE}(?:/100)?")  # as models write a score of 0-100
BARE = re.compile(WHOLE)


def parse(reply: str, rubric: Rubric) -> int | None:
    """The score in a reply, or None.

    Outer whitespace is removed, then one trailing full stop, then one enclosing pair of quotes, brackets or asterisks.
    The rest must be a whole number in ASCII digits on the rubric's scale; on the scale 0-100 also "Score: 85" and
    "85/100". With any other word, number or mark it is None: a reply that needs interpretation is not a score.
    """
    lowest, highest = rubric.scale
    body = _unwrapped(reply.strip().removesuffix("."))
    found = (PERCENT if rubric.scale == (0, 100) else BARE).fullmatch(body)
    score = int(found[1]) if found else None
    return score if score is not None and lowest <= score <= highest else None


def reason(score: int | None, *, min_score: int | None = None, max_score: int | None = None) -> str | None:
    """Why a score rejects its row; None if it lies within the bounds. A missing score always rejects."""
    if score is None:
        return UNPARSED
    return (
        OUT_OF_BOUNDS
        if (min_score is not None and score < min_score) or (max_score is not None and score > max_score)
        else None
    )


def _unwrapped(text: str) -> str:
    for opening, closing in PAIRS:
        if len(text) >= len(opening + closing) and text.startswith(opening) and text.endswith(closing):
            return text[len(opening) : -len(closing)]
    return text
