"""What a design can show before it is run: the smallest p, the effect that it finds, the null that it can show.

T teachers with a trait, each with c corpora, and S students per corpus. A teacher's mean lift has the variance
v = σ_teacher² + σ_corpus²/c + σ_run²/(c·S). The sd of the effect itself between teachers is τ.
"""

import math
from dataclasses import dataclass

import numpy as np

from pipeline.analysis.stats import t_quantile
from pipeline.analysis.verdict import MIN_DRAWN_TEACHERS, MIN_TEACHERS

POINTS = 2_000  # of the integral over the width of the interval


@dataclass(frozen=True)
class Spread:
    """Standard deviations in nats: between teachers, between a teacher's corpora, between runs, and of the effect."""

    teacher: float
    corpus: float
    run: float
    effect: float = 0.0


# Measured on the quickstart's 72 students (November 2026), rounded. Within a family the corpus adds nothing to its
# teacher; across families the two cannot be told apart, and all counts as the teacher's.
OWN_FAMILY = Spread(teacher=0.11, corpus=0.0, run=0.08)
ACROSS_FAMILIES = Spread(teacher=0.05, corpus=0.0, run=0.075)


@dataclass(frozen=True)
class Design:
    """T traits, c corpora of each teacher, S seeds of students per corpus.

    drawn_from: the number of candidates that the traits are drawn from; 0 if they are chosen.
    """

    teachers: int
    seeds: int
    corpora: int = 1
    drawn_from: int = 0

    @property
    def students(self) -> int:
        return self.teachers * self.corpora * self.seeds

    @property
    def teachers_suffice(self) -> bool:
        return self.teachers >= (MIN_DRAWN_TEACHERS if self.drawn_from else MIN_TEACHERS)


def smallest_p(design: Design) -> float:
    """The smallest p that the design allows: 1/T! over permutations, (n − T)!/n! over draws from n candidates."""
    candidates = design.drawn_from or design.teachers
    return math.exp(math.lgamma(candidates - design.teachers + 1) - math.lgamma(candidates + 1))  # also for thousands


def power(effect: float, design: Design, spread: Spread, confidence: float) -> float:
    """The probability that an effect (nats) gets the verdict *transfer*; 0 with too few teachers for a verdict."""
    from scipy.special import nctdtr

    if not _can_decide(design, confidence):
        return 0.0
    df, bound, deviation = _test(design, spread, confidence)
    return float(1 - nctdtr(df, effect / deviation, bound))


def detectable_effect(design: Design, spread: Spread, confidence: float, wanted: float = 0.8) -> float:
    """The effect (nats) that the design finds with probability `wanted`; infinite if it can find none."""
    from scipy.special import nctdtrinc

    if not _can_decide(design, confidence):
        return math.inf
    df, bound, deviation = _test(design, spread, confidence)
    return float(nctdtrinc(df, 1 - wanted, bound)) * deviation


def equivalence_power(margin: float, design: Design, spread: Spread, confidence: float, effect: float = 0.0) -> float:
    """The probability that the whole interval lies within ±margin (nats) if the effect is as given."""
    from scipy.special import gammaincinv, ndtr

    if not design.teachers_suffice:
        return 0.0
    variance, expected = _variances(design, spread)
    df = design.teachers - 1
    squares = 2 * gammaincinv(df / 2, (np.arange(POINTS) + 0.5) / POINTS)  # quantiles of χ² with df degrees of freedom
    half = t_quantile(0.5 + confidence / 2, df) * np.sqrt(expected * squares / df)
    deviation = math.sqrt(variance)
    within = ndtr((margin - half - effect) / deviation) - ndtr((-margin + half - effect) / deviation)
    return float(np.clip(within, 0.0, None).mean())


def _can_decide(design: Design, confidence: float) -> bool:
    return design.teachers_suffice and smallest_p(design) <= 1 - confidence


def _test(design: Design, spread: Spread, confidence: float) -> tuple[int, float, float]:
    """Degrees of freedom; what γ must exceed, in its standard deviations if it were known; and that deviation."""
    variance, expected = _variances(design, spread)
    df = design.teachers - 1
    return df, t_quantile(0.5 + confidence / 2, df) * math.sqrt(expected / variance), math.sqrt(variance)


def _variances(design: Design, spread: Spread) -> tuple[float, float]:
    """The variance of γ, and the expected square of its standard error."""
    t, c, s = design.teachers, design.corpora, design.seeds
    one = spread.teacher**2 + spread.corpus**2 / c + spread.run**2 / (c * s)
    between = spread.effect**2 / t
    return one / (t - 1) + between, one / (t - 2) + between
