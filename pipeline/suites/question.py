"""One question of a suite."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """split: "seen" or "held-out".

    options: (candidate, an answer that names it) pairs; () if nothing is scored. A candidate with several answers has
    several pairs, one after the other. opening: what the answer begins with before an option is scored.
    """

    prompt: str
    split: str
    options: tuple[tuple[str, str], ...]
    opening: str = ""
