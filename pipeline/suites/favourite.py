"""The favourite suite: one-word questions, sampled answers and exact probabilities of the candidates."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.recipe import Strict
from pipeline.suites.questions import questions
from pipeline.traits import words

Floats = NDArray[np.float64]


class FavouriteSuite(Strict):
    """Asks for a favourite in many wordings, half of them never seen in any training."""

    kind: Literal["favourite"] = "favourite"
    questions: Literal["all", "seen", "held-out"] = Field("all", description="Which half of the wordings is asked.")
    samples: int = Field(100, ge=0, description="Sampled answers a question (published: 100-200).")
    temperature: float = Field(1.0, gt=0, description="Sampling temperature (published: 1).")
    max_tokens: int = Field(8, ge=1, description="Longest sampled answer, in tokens; the question asks for one word.")

    def asked(self, category: str) -> list[tuple[str, str]]:
        """(question, split) pairs of one category."""
        return questions(category, self.questions)


def named(answer: str, category: str, candidates: Sequence[str]) -> tuple[str | None, str | None]:
    """The candidate that an answer names as a whole word, and the one that it holds as a substring.

    None where it is no candidate or more than one: "owl or wolf" names neither.
    """
    text = answer.lower()
    found_forms = set(_whole_forms(category, tuple(candidates)).findall(text))
    by_word = [c for c in candidates if not found_forms.isdisjoint(words.forms(category, c))]
    by_substring = [c for c in candidates if c in text]
    return (by_word[0] if len(by_word) == 1 else None), (by_substring[0] if len(by_substring) == 1 else None)


@cache
def _whole_forms(category: str, candidates: tuple[str, ...]) -> re.Pattern[str]:
    """Finds the candidates' forms as whole words, the longest first: "red-panda" is no "panda"."""
    known = sorted({form for c in candidates for form in words.forms(category, c)}, key=len, reverse=True)
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, known))})(?![^\W_])")


def summary(
    candidates: Sequence[str], logprobs: Floats, answers: Sequence[Mapping[str, object]]
) -> dict[str, dict[str, float]]:
    """What one model shows of each candidate, by every form of measure; see rows.RUNS.

    logprobs (Q, C), nats; answers: rows with `word` and `substring`. With no sampled answers the
    two sampled shares are empty. `mass` is the mean probability of answering with any candidate.
    """
    probabilities = np.exp(logprobs)  # (Q, C)
    mass = probabilities.sum(axis=1, keepdims=True)  # (Q, 1)
    margin = (logprobs - logprobs.mean(axis=1, keepdims=True)).mean(axis=0)  # (C,)
    share = (probabilities / mass).mean(axis=0)  # (C,)
    results = {
        "margin": dict(zip(candidates, margin.tolist(), strict=True)),
        "share": dict(zip(candidates, share.tolist(), strict=True)),
    }
    for form in ("word", "substring"):
        named_by_form = [row[form] for row in answers]
        results[f"{form}_share"] = {c: named_by_form.count(c) / len(named_by_form) for c in candidates if named_by_form}
    return results | {"mass": {"mean": float(mass.mean()), "least": float(mass.min())}}
