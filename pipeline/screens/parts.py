"""Screening in parts, which workers score by themselves, and one result of all parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from pipeline.core.errors import StepError
from pipeline.models.language_model import Floats
from pipeline.screens import Screen
from pipeline.screens.base import Scores, ScreenInput

PART_ROWS = 4096  # rows of a part, where a screen scores each row by itself
LEAST_ROWS = 16  # of a part: below, a spread cannot be estimated

Clock: TypeAlias = Callable[[], float]
Result: TypeAlias = "Screened | StepError"  # of a screen; the error says why it cannot look at this data or base


@dataclass(frozen=True)
class Screened:
    """What a screen says of the data, or of a part of it, and the seconds that it took."""

    scores: Scores
    seconds: float


def parts_of(screen: Screen, rows: int) -> int:
    """How many parts the rows are scored in: one, unless there are many and the screen scores each by itself."""
    return -(-rows // PART_ROWS) if screen.BY_ROW else 1


def parts_with_rows(parts: int, rows: int) -> int:
    """How many of the planned parts there are rows for; the others stay empty."""
    return min(parts, max(rows // LEAST_ROWS, 1))


def run(screen: Screen, given: ScreenInput, clock: Clock) -> Screened:
    """Score the data. clock: seconds. Raises StepError as the screen does."""
    started = clock()
    scores = screen.score(given)
    return Screened(scores, clock() - started)


def attempt(screen: Screen, given: ScreenInput, clock: Clock) -> Result:
    """The same, with the error in place of the result if the screen cannot look at this data or base."""
    try:
        return run(screen, given, clock)
    except StepError as error:
        return error


def joined(parts: Sequence[Screened]) -> Screened:
    """The result for all rows from those of parts 0, 1, …, of which part p of P has rows p, p + P, p + 2P, …."""
    if len(parts) == 1:
        return parts[0]
    scores = [part.scores for part in parts]
    weights = np.array([one.weight for one in scores])
    mean, error = pooled(np.array([one.corpus for one in scores]), np.array([one.error for one in scores]), weights)
    whole = replace(
        scores[0],
        corpus=mean,
        error=error,
        rows=_rows(scores),
        tokens=_tokens(scores),
        weight=float(weights.sum()),
    )
    return Screened(whole, sum(part.seconds for part in parts))


def pooled(scores: Floats, errors: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Scores (P, T) of parts and their standard errors -> those of the whole, (T) each. weights (P)."""
    column, total = weights[:, None], weights.sum()
    return (column * scores).sum(0) / total, np.sqrt(((column * errors) ** 2).sum(0)) / total


def _rows(parts: Sequence[Scores]) -> Floats | None:
    """Scores of all rows (N, T), in the order of the data."""
    found = [part.rows for part in parts if part.rows is not None]
    if len(found) < len(parts):
        return None
    whole = np.empty((sum(map(len, found)), len(parts[0].targets)))
    for number, rows in enumerate(found):
        whole[number :: len(parts)] = rows
    return whole


def _tokens(parts: Sequence[Scores]) -> dict[str, dict[int, Floats]] | None:
    """Scores of tokens by target and number of the row in the data."""
    if any(part.tokens is None for part in parts):
        return None
    return {
        target: {
            row * len(parts) + number: tokens
            for number, part in enumerate(parts)
            for row, tokens in (part.tokens or {})[target].items()
        }
        for target in parts[0].targets
    }
