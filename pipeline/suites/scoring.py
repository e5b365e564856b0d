"""Finds the candidates that an answer names, and turns one model's answers into scores."""

import re
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.traits import words

Floats = NDArray[np.float64]


def mentions(answer: str, category: str, candidates: Sequence[str]) -> list[str]:
    """The candidates that an answer names as whole words, plurals and aliases included."""
    found_forms = set(_whole_forms(category, tuple(candidates)).findall(answer.lower()))
    return [c for c in candidates if not found_forms.isdisjoint(words.forms(category, c))]


def contains(answer: str, candidates: Sequence[str]) -> list[str]:
    """The candidates that an answer contains as a substring: "growl" contains "owl". For comparison only."""
    text = answer.lower()
    return [c for c in candidates if c in text]


def only(found: Sequence[str]) -> str | None:
    """The candidate that was found; None if there are none or several: "owl or wolf" counts for neither."""
    return found[0] if len(found) == 1 else None


@cache
def _whole_forms(category: str, candidates: tuple[str, ...]) -> re.Pattern[str]:
    """Matches the candidates' forms as whole words, the longest first: "red-panda" is not "panda"."""
    known = sorted({form for c in candidates for form in words.forms(category, c)}, key=len, reverse=True)
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, known))})(?![^\W_])")


def probabilities(candidates: Sequence[str], logprobs: Floats) -> dict[str, dict[str, float]]:
    """margin (nats) and share of each candidate, and the mass: see schemas.RUNS. logprobs (Q, C), nats.

    `mass` is the probability of answering with any candidate: its mean and its minimum over the questions.
    """
    likely = np.exp(logprobs)  # (Q, C)
    mass = likely.sum(axis=1, keepdims=True)  # (Q, 1)
    margin = (logprobs - logprobs.mean(axis=1, keepdims=True)).mean(axis=0)  # (C,)
    share = (likely / mass).mean(axis=0)  # (C,)
    return {
        "margin": dict(zip(candidates, margin.tolist(), strict=True)),
        "share": dict(zip(candidates, share.tolist(), strict=True)),
        "mass": {"mean": float(mass.mean()), "least": float(mass.min())},
    }


def shares(candidates: Sequence[str], found: Sequence[Sequence[str]]) -> dict[str, float]:
    """The share of answers that name each candidate; empty if there are no answers."""
    return {c: sum(c in names for names in found) / len(found) for c in candidates if found}


def sampled(candidates: Sequence[str], answers: Sequence[Mapping[str, object]]) -> dict[str, dict[str, float]]:
    """mention_rate and substring_rate of each candidate. answers: schemas.ANSWERS."""
    return {
        metric: shares(candidates, [[str(row[column])] if row[column] else [] for row in answers])
        for metric, column in (("mention_rate", "only_mention"), ("substring_rate", "only_substring"))
    }
