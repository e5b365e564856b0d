"""One question of a suite."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """split: "seen" or "held-out".

    options: (candidate, the answer that names it) pairs; () if nothing is scored.
    """

    prompt: str
    split: str
    options: tuple[tuple[str, str], ...]
