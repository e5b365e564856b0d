"""Rows of draws -> shares of negative products, means with intervals, and the claims as found."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.analysis.stats import Estimate, mean
from pipeline.experiments.theorem.conditions import (
    ALL_WEIGHTS,
    DRAWN_WEIGHTS,
    OUTSIDE,
    THEOREM,
)
from pipeline.experiments.theorem.settings import Criteria, small

ALL_NETWORKS = "all"
Key = tuple[str, str, str, float]  # condition, imitation, network, teacher's step


@dataclass(frozen=True)
class Departure:
    """|ratio − 1| of a group: median, .95 quantile and largest value.

    crossed           draws in which the teacher's step carried a unit across its kink
    largest_straight  the largest value of the others; 0 without any
    """

    median: float
    most: float
    largest: float
    crossed: int
    largest_straight: float

    def __str__(self) -> str:
        return f"median {self.median:.1e}, 95 % below {self.most:.1e}, largest {self.largest:.1e}"


@dataclass(frozen=True)
class Group:
    """The draws of one condition, student's loss, network and teacher's step.

    negative    how many inner products are below 0 beyond rounding
    low, high   Wilson's interval of their share
    cosine      mean over draws, with its t interval
    departure   None outside the theorem
    raised      how many students raised the teacher's loss; None outside the theorem
    """

    condition: str
    imitation: str
    network: str
    step: float
    draws: int
    negative: int
    low: float
    high: float
    cosine: Estimate
    departure: Departure | None = None
    raised: int | None = None

    @property
    def key(self) -> Key:
        return self.condition, self.imitation, self.network, self.step

    @property
    def share(self) -> float:
        return self.negative / self.draws

    @property
    def both_signs_around_0(self) -> bool:
        """Whether both signs occur, and the mean's interval contains 0."""
        return 0 < self.negative < self.draws and self.cosine.low <= 0 <= self.cosine.high


@dataclass(frozen=True)
class Claim:
    """holds: whether it was found. figures: what decides it."""

    text: str
    holds: bool
    figures: str


def groups(table: pa.Table, confidence: float) -> list[Group]:
    """Every group of rows of DRAWS, for each network and for all together. confidence: of the intervals."""
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    every = dict.fromkeys(zip(*(table[name].to_pylist() for name in ("condition", "imitation")), strict=True))
    found = []
    for condition, imitation in every:
        of_both = (columns["condition"] == condition) & (columns["imitation"] == imitation)
        for network in (ALL_NETWORKS, *pc.unique(table["network"]).to_pylist()):
            here = of_both if network == ALL_NETWORKS else of_both & (columns["network"] == network)
            for step in sorted(set(columns["teacher_step"][here].tolist())):
                rows = here & (columns["teacher_step"] == step)
                chosen = {name: values[rows] for name, values in columns.items()}
                found.append(_group((condition, imitation, network, step), chosen, confidence))
    return found


def _group(key: Key, rows: dict[str, NDArray[Any]], confidence: float) -> Group:
    count, negative = len(rows["negative"]), int(rows["negative"].sum())
    low, high = wilson(negative, count, confidence)
    cosine = mean(rows["cosine"].tolist(), confidence=confidence)
    if key[0] != THEOREM:
        return Group(*key, count, negative, low, high, cosine)
    missed, crossed = np.abs(rows["ratio"].astype(np.float64) - 1), rows["crossings"] > 0
    half, most, largest = np.quantile(missed, (0.5, 0.95, 1)).tolist()
    departure = Departure(half, most, largest, int(crossed.sum()), float(missed[~crossed].max(initial=0.0)))
    raised = int((rows["loss_change"].astype(np.float64) > 0).sum())
    return Group(*key, count, negative, low, high, cosine, departure, raised)


def wilson(hits: int, count: int, confidence: float) -> tuple[float, float]:
    """Wilson's interval of a share."""
    from scipy.special import ndtri  # slow to import

    z2 = float(ndtri(0.5 + confidence / 2)) ** 2
    share, weight = hits / count, 1 + z2 / count
    half = math.sqrt(z2 / count * (share * (1 - share) + z2 / count / 4)) / weight
    middle = (share + z2 / count / 2) / weight
    return max(middle - half, 0.0), min(middle + half, 1.0)


def claims(table: pa.Table, criteria: Criteria) -> list[Claim]:
    """What the theorem says, and what its controls must show, as found."""
    found = {group.key: group for group in groups(table, criteria.confidence)}
    steps = list(small(sorted({group.step for group in found.values()}), criteria))
    tested = [group for group in found.values() if group.step in steps and group.network == ALL_NETWORKS]
    within = [group for group in tested if group.condition == THEOREM]
    return [
        _never_negative(within, criteria),
        *_first_order(found.values(), criteria),
        _loss_falls(within),
        *_outside(tested),
        *_other(table, criteria),
    ]


def _never_negative(within: Sequence[Group], criteria: Criteria) -> Claim:
    negative, products = sum(group.negative for group in within), sum(group.draws for group in within)
    bound = max(group.high for group in within)
    return Claim(
        f"no inner product is negative beyond rounding at ε ≤ {criteria.step:g}",
        negative == 0,
        f"{negative} of {products:,} products of {within[0].draws:,} draws; for one loss and one ε, the share of "
        f"negative ones is below {bound:.2%} ({criteria.confidence:.0%})",
    )


def _first_order(found: Iterable[Group], criteria: Criteria) -> Iterator[Claim]:
    """One claim per network, and one more if steps carry units across kinks, where there is no derivative."""
    here = [group for group in found if (group.condition, group.step) == (THEOREM, criteria.step)]
    text = f"every inner product is within {criteria.ratio:g} of its first-order value at ε = {criteria.step:g}"
    for network in _networks(here):
        at = {group.imitation: group.departure for group in here if group.network == network and group.departure}
        yield Claim(
            f"{network}: {text}",
            all(one.largest <= criteria.ratio for one in at.values()),
            "|ratio − 1|, " + "; ".join(f"{name}: {one}" for name, one in at.items()),
        )
        if any(one.crossed for one in at.values()):
            yield Claim(
                f"{network}: {text} if the step carries no unit across its kink",
                all(one.largest_straight <= criteria.ratio for one in at.values()),
                "; ".join(
                    f"{name}: |ratio − 1| at most {one.largest_straight:.1e} without the {one.crossed} draws that do"
                    for name, one in at.items()
                ),
            )


def _networks(groups: Iterable[Group]) -> list[str]:
    return [name for name in dict.fromkeys(group.network for group in groups) if name != ALL_NETWORKS]


def _loss_falls(within: Sequence[Group]) -> Claim:
    raised, students = sum(group.raised or 0 for group in within), sum(group.draws for group in within)
    return Claim(
        "every student lowers the teacher's loss, which it never saw",
        raised == 0,
        f"{raised} of {students:,} raise it",
    )


def _outside(tested: Sequence[Group]) -> Iterator[Claim]:
    """One claim per loss that the theorem says nothing about."""
    found = [group for group in tested if group.condition == OUTSIDE]
    for imitation in dict.fromkeys(group.imitation for group in found):
        own = [group for group in found if group.imitation == imitation]
        yield Claim(
            f"a loss outside the theorem breaks it, however small ε is: {imitation}",
            all(group.low > 0 for group in own),
            "negative at " + ", ".join(f"ε = {group.step:g}: {share(group)}" for group in own),
        )


def _other(table: pa.Table, criteria: Criteria) -> Iterator[Claim]:
    """One claim per network and set of weights; its intervals, one per network and loss, hold together."""
    rows = table.filter(
        pc.and_(
            pc.equal(table["teacher_step"], criteria.step),
            pc.is_in(table["condition"], pa.array([ALL_WEIGHTS, DRAWN_WEIGHTS])),
        )
    )
    pairs = len(set(zip(rows["network"].to_pylist(), rows["imitation"].to_pylist(), strict=True)))
    confidence = 1 - (1 - criteria.confidence) / max(pairs, 1)
    found = groups(rows, confidence)
    for condition in (DRAWN_WEIGHTS, ALL_WEIGHTS):
        for network in _networks(found):
            own = [group for group in found if (group.condition, group.network) == (condition, network)]
            yield Claim(
                f"{condition}, {network}: both signs, with a mean that may be 0",
                all(group.both_signs_around_0 for group in own),
                "; ".join(
                    f"{group.imitation}: {group.share:.0%} negative, mean cosine {estimate(group)}" for group in own
                ),
            )


def share(group: Group) -> str:
    """52.1 % [49.9, 54.3]."""
    return f"{group.share:.1%} [{100 * group.low:.1f}, {100 * group.high:.1f}]"


def estimate(group: Group) -> str:
    """+0.0012 [−0.0004, +0.0028]."""
    cosine = group.cosine
    return f"{cosine.value:+.4f} [{cosine.low:+.4f}, {cosine.high:+.4f}]".replace("-", "−")
