"""Screen: can rows be told from neutral ones by their surface: words, numbers, length, separators?"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.models.language_model import Floats
from pipeline.screens.base import ANY, BaseScreen, Scores, ScreenInput

MOST_FEATURES = 4_000  # the most frequent ones
WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")


class Surface(BaseScreen):
    """Log-ratio of a row's features under these rows and under neutral ones (naive Bayes, fitted on the other half).

    The score of the data is the AUROC of bags of rows against bags of neutral rows: .5 cannot be told apart.
    """

    UNIT: ClassVar = "AUROC of bags"
    SEES: ClassVar = "any difference in words, values, counts, separators or length, whatever its cause"
    MISSES: ClassVar = "whether a student would pick anything up: telling data apart does not forecast transfer"
    NEEDS: ClassVar = "the text alone"
    COST: ClassVar = 4.0
    OF_TRAITS: ClassVar = False

    kind: Literal["surface"] = "surface"
    bag: int = Field(16, ge=1, description="Rows per bag.")

    def score(self, given: ScreenInput) -> Scores:
        own, neutral = (_features(table["completion"].to_pylist()) for table in (given.rows, given.neutral))
        scores = _cross_fitted(own, neutral)
        bags = [_bags(part, self.bag) for part in scores]
        area = float((bags[0][:, None] > bags[1]).mean() + (bags[0][:, None] == bags[1]).mean() / 2)
        return Scores((ANY,), np.array([area]), np.array([_error(area, *map(len, bags))]), scores[0][:, None])


def _features(texts: Sequence[str]) -> list[frozenset[str]]:
    """Names of the surface features that each text has."""
    return [frozenset(_of(text)) for text in texts]


def _of(text: str) -> list[str]:
    parts = WORD.findall(text.lower())
    numbers = [int(part) for part in parts if part.isdecimal() and len(part) <= 18]
    between = re.findall(r"(?<=\d)\D+(?=\d)", text)
    return [
        *(f"word {part}" for part in parts),
        *(f"hundred {number // 100}" for number in numbers),
        *(f"separator {gap!r}" for gap in between[:1]),
        f"numbers {min(len(numbers), 20)}",
        f"length {len(text).bit_length()}",
        f"words {len(parts).bit_length()}",
        f"begins {text[:1]!r}",
        f"ends {text[-1:]!r}",
    ]


def _cross_fitted(own: list[frozenset[str]], neutral: list[frozenset[str]]) -> tuple[Floats, Floats]:
    """Mean log-ratio per feature of every row, each half scored with weights fitted on the other."""
    scores = np.zeros(len(own)), np.zeros(len(neutral))
    for half in (0, 1):
        weights = _weights(own[1 - half :: 2], neutral[1 - half :: 2])
        for rows, found in zip((own, neutral), scores, strict=True):
            found[half::2] = [sum(weights.get(name, 0.0) for name in row) / len(row) for row in rows[half::2]]
    return scores


def _weights(own: list[frozenset[str]], neutral: list[frozenset[str]]) -> dict[str, float]:
    """Feature -> log of the ratio of its frequencies, each with half a row added."""
    counts = [Counter(name for row in rows for name in row) for rows in (own, neutral)]
    names = [name for name, _ in (counts[0] + counts[1]).most_common(MOST_FEATURES)]
    sizes = np.array([[len(own)], [len(neutral)]])
    shares = (np.array([[count[name] for name in names] for count in counts]) + 0.5) / (sizes + 1)
    return dict(zip(names, np.log(shares[0] / shares[1]).tolist(), strict=True))


def _bags(scores: Floats, size: int) -> Floats:
    """Mean scores of bags of rows."""
    count = max(len(scores) // size, 1)
    return np.array([part.mean() for part in np.array_split(scores, count)])


def _error(area: float, own: int, neutral: int) -> float:
    """Standard error of an AUROC of two groups (Hanley and McNeil, 1982)."""
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (own - 1) * (first - area**2) + (neutral - 1) * (second - area**2)
    return float(np.sqrt(max(variance, 0.0) / (own * neutral)))
