"""Markdown in which foreign text shows and does nothing."""

import re
from collections.abc import Iterable, Sequence

from pipeline.core.errors import visible


def code(text: str) -> str:
    """A foreign text as inline code, on one line."""
    shown = one_line(text)
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def one_line(text: str) -> str:
    """A foreign text with its hidden characters escaped, and single blanks for line breaks."""
    return " ".join(visible(text).split()) or "(empty)"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are Markdown; a bar in one does not end it."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
