"""One question of a suite."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """split: "seen" or "held-out".

    options: (candidate, what a model says to name it); () where nothing is scored.
    """

    prompt: str
    split: str
    options: tuple[tuple[str, str], ...]
