"""How well screens of a study's corpora predicted what students then picked up. Pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.analysis import forecast


@dataclass(frozen=True)
class Pair:
    """A screened corpus and a target. own: whether the students are of the teacher's own family. lift: the rise of the
    target's margin over the base's, a mean over students, in nats."""

    screen: str
    own: bool
    corpus: str
    target: str
    score: float
    lift: float


@dataclass(frozen=True)
class Agreement:
    """A screen against measured transfer. above: pairs with a lift above the margin, in nats.

    auroc: of its scores for such a pair; spearman: of scores and lifts. Each is [value, low, high] over corpora, and
    empty where it is undefined.
    """

    screen: str
    own: bool
    corpora: int
    pairs: int
    margin: float
    above: int
    auroc: list[float]
    spearman: list[float]


def agreements(pairs: Sequence[Pair], margin: float) -> list[Agreement]:
    """One per screen and relation of teacher and student, in the order of the pairs. margin: nats."""
    groups: dict[tuple[str, bool], list[Pair]] = {}
    for pair in pairs:
        if math.isfinite(pair.score) and math.isfinite(pair.lift):
            groups.setdefault((pair.screen, pair.own), []).append(pair)
    return [_agreement(screen, own, found, margin) for (screen, own), found in groups.items()]


def _agreement(screen: str, own: bool, pairs: Sequence[Pair], margin: float) -> Agreement:
    scores, lifts = np.array([pair.score for pair in pairs]), np.array([pair.lift for pair in pairs])
    corpora = [pair.corpus for pair in pairs]
    above = int((lifts > margin).sum())
    varied = np.ptp(scores) > 0 and np.ptp(lifts) > 0
    return Agreement(
        screen,
        own,
        len(set(corpora)),
        len(pairs),
        margin,
        above,
        forecast.over_corpora("auroc", scores, lifts, corpora, margin) if 0 < above < len(pairs) else [],
        forecast.over_corpora("spearman", scores, lifts, corpora, margin) if varied else [],
    )
