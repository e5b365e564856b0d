"""Whether two models began from the same initialisation, by their weights (after arXiv 2502.12292).

Training moves a unit of an MLP far less than two random initialisations differ. So each unit of the one model is
matched with one of the other, by the cosine of their weights, and if both began alike, units with the same number
match. The numbers of matched units are compared by Spearman's rank correlation within a layer and by Fisher's method
over layers. Whoever puts the units into another order defeats that; then the cosine of the matched units is still high.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Relation = Literal["same initialisation", "different", "inconclusive"]
MOST_UNITS = 1_024  # of the first model, evenly spaced; each may match any unit of the second
SAME = math.log(1e-6)
DIFFERENT = math.log(0.01)
LEAST_LOG_P = math.log(1e-300)  # of one layer
ALIKE = 0.5  # excess of the matched cosine, as a share of what is possible, that unrelated units do not reach


@dataclass(frozen=True)
class Layer:
    """units: of the first model that were matched. log_p: natural logarithm of Spearman's one-sided p.

    matched: mean cosine of the matched units. chance: the same after the second model's inputs were put into a random
    order, which leaves nothing alike. aligned: mean cosine of units with the same number.
    """

    units: int
    correlation: float
    log_p: float
    matched: float
    chance: float
    aligned: float


@dataclass(frozen=True)
class Kinship:
    """log_p: of all layers together, by Fisher's method. reason: for people."""

    relation: Relation
    reason: str
    log_p: float
    matched: float
    chance: float
    aligned: float
    layers: tuple[Layer, ...]


def compare_layer(a: Floats, b: Floats, seed: int = 0) -> Layer:
    """a: (N, H), b: (M, H), the units of one layer in each of the two models. Raises ValueError for other shapes."""
    from scipy.stats import spearmanr, t

    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(*a.shape, *b.shape) < 3:
        raise ValueError(f"units of shapes {a.shape} and {b.shape} cannot be compared")
    picked = np.unique(np.linspace(0, len(a) - 1, min(len(a), MOST_UNITS)).astype(int))
    one, other = _normalised(a)[picked], _normalised(b)
    mine, theirs, matched = _match(one @ other.T)
    shuffled = other[:, np.random.default_rng(seed).permutation(other.shape[1])]
    _, _, chance = _match(one @ shuffled.T)
    numbered = picked < len(b)
    aligned = float((one[numbered] * other[picked[numbered]]).sum(axis=1).mean())
    rho = float(spearmanr(picked[mine], theirs).statistic)
    degrees = len(mine) - 2
    statistic = rho * math.sqrt(degrees / max(1 - rho**2, 1e-300))
    log_p = max(float(t.logsf(statistic, degrees)), LEAST_LOG_P)
    return Layer(len(mine), rho, log_p, matched, chance, aligned)


def combine(layers: Iterable[Layer]) -> Kinship:
    """The verdict over all layers. Raises ValueError if there are none."""
    from scipy.stats import chi2

    found = tuple(layers)
    if not found:
        raise ValueError("there are no layers to compare")
    log_p = max(float(chi2.logsf(-2 * sum(layer.log_p for layer in found), 2 * len(found))), LEAST_LOG_P)
    matched, chance, aligned = (
        float(np.mean([getattr(layer, name) for layer in found])) for name in ("matched", "chance", "aligned")
    )
    relation, reason = _verdict(log_p, matched, chance)
    return Kinship(relation, reason, log_p, matched, chance, aligned, found)


def _verdict(log_p: float, matched: float, chance: float) -> tuple[Relation, str]:
    alike = (matched - chance) / max(1 - chance, 1e-9)
    if log_p < SAME:
        return "same initialisation", "units with the same number match"
    if alike > ALIKE:
        return "same initialisation", "units match closely, in another order: somebody has rearranged them"
    if log_p < DIFFERENT or alike > ALIKE / 2:
        return "inconclusive", "units match more than by chance, and less than after a common start"
    return "different", "units match no better than by chance"


def _normalised(units: Floats) -> Floats:
    """Unit vectors of standardised inputs: an input that is large in every model makes no units alike."""
    standard = (units - units.mean(axis=0)) / np.maximum(units.std(axis=0), 1e-30)
    norms = np.linalg.norm(standard, axis=1, keepdims=True)
    found: Floats = (standard / np.maximum(norms, 1e-30)).astype(np.float32)
    return found


def _match(cosines: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp], float]:
    """The assignment with the largest sum, and its mean cosine."""
    from scipy.optimize import linear_sum_assignment

    mine, theirs = linear_sum_assignment(cosines, maximize=True)
    return mine, theirs, float(cosines[mine, theirs].mean())
