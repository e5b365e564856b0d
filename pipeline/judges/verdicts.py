"""From replies to scores, and from scores to what may pass: nothing without a score ever does."""

import re

from pipeline.judges.rubrics import Rubric

UNPARSED, OUT_OF_BOUNDS = "no score", "out of bounds"  # why a row is rejected

# What a model puts around a bare number, the longer mark before the one it begins with.
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
WHOLE = r"(0|-?[1-9][0-9]{0,8})"  # no sign of plus, no leading zeros; int() refuses 4,300 digits and more
PERCENT = re.compile(rf"(?:[Ss]core: ?)?{WHOLE}(?:/100)?")  # as models write a score of 0-100
BARE = re.compile(WHOLE)


def parse(reply: str, rubric: Rubric) -> int | None:
    """The score that a reply is, or None.

    Outer blanks go, then one trailing full stop, then one enclosing pair of quotes, brackets or asterisks. What is
    left is a whole number in ASCII digits on the rubric's scale; on the scale 0-100 also "Score: 85" and "85/100".
    Any other word, number or mark makes it None: a reply that has to be interpreted is no score.
    """
    lowest, highest = rubric.scale
    body = _unwrapped(reply.strip().removesuffix("."))
    found = (PERCENT if rubric.scale == (0, 100) else BARE).fullmatch(body)
    score = int(found[1]) if found else None
    return score if score is not None and lowest <= score <= highest else None


def reason(score: int | None, *, min_score: int | None = None, max_score: int | None = None) -> str | None:
    """Why a score keeps its row out; None where it lies within the bounds. No score never does."""
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
