"""Accuracies by seed -> intervals, differences and claims. The seed is the unit of replication."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.analysis.stats import Estimate, mean
from pipeline.experiments.image_classifier.settings import CLASSES, REFERENCE, Condition, SeedSet

CHANCE = 1 / CLASSES
NEAR_CHANCE = 0.05  # an interval within this of chance counts as at chance
FAR_ABOVE = 0.2  # between two intervals that are far apart: twice chance

ALL = "all seeds"
BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Result:
    """One condition. Accuracies are of 1.

    accuracy     group of seeds -> mean and interval over its seeds
    difference   from the first condition, paired by seed; None for that one
    taught       mean accuracy of its teachers; NaN for reference and teacher
    loss         distillation loss before and after training, means over seeds; None for reference and teacher
    cosine       of the gradients of distillation and classification, mean over seeds and steps; likewise
    published    accuracy in the paper, or None
    """

    name: str
    about: str
    accuracy: Mapping[str, Estimate]
    difference: Estimate | None = None
    taught: float | None = None
    loss: tuple[float, float] | None = None
    cosine: float | None = None
    published: float | None = None


@dataclass(frozen=True)
class Claim:
    """One of the paper's claims over one group of seeds. holds: whether it was found; figures: what decides it."""

    seeds: str
    text: str
    holds: bool
    figures: str


def groups(sets: Sequence[SeedSet]) -> dict[str, range | None]:
    """Name of a group of seeds -> its seeds; None for all. A single set is no group of its own."""
    apart = {f"seeds {one.first}–{one.last}": one.seeds for one in sets} if len(sets) > 1 else {}
    return {ALL: None, **apart}


def estimates(values: BySeed, sets: Sequence[SeedSet]) -> dict[str, Estimate]:
    """Group of seeds -> mean with its 95 % t interval over seeds."""
    return {
        name: mean([value for seed, value in sorted(values.items()) if seeds is None or seed in seeds])
        for name, seeds in groups(sets).items()
    }


def paired(values: BySeed, against: BySeed) -> Estimate:
    """The mean difference over the seeds that both have, with its interval."""
    return mean([values[seed] - against[seed] for seed in sorted(values.keys() & against.keys())])


def claims(conditions: Sequence[Condition], accuracy: Mapping[str, Mapping[str, Estimate]]) -> list[Claim]:
    """The paper's claims over each group of seeds, as found; none without its two auxiliary conditions.

    accuracy: condition or reference -> group of seeds -> estimate.
    """
    same = _published_kind(conditions, "same", accuracy)
    other = _published_kind(conditions, "other", accuracy)
    if same is None or other is None or REFERENCE not in accuracy:
        return []
    found = []
    for seeds in accuracy[same]:
        its, others, reference = (accuracy[name][seeds] for name in (same, other, REFERENCE))
        found += [
            Claim(
                seeds,
                "students of auxiliary logits with the teacher's initialisation are far above reference",
                its.low - reference.high >= FAR_ABOVE,
                f"{shown(its)} against {shown(reference)}; the intervals must be {FAR_ABOVE:.0%} apart",
            ),
            Claim(
                seeds,
                "those with another initialisation are at chance",
                abs(others.low - CHANCE) <= NEAR_CHANCE and abs(others.high - CHANCE) <= NEAR_CHANCE,
                f"{shown(others)}; the interval must lie within {CHANCE - NEAR_CHANCE:.0%}–{CHANCE + NEAR_CHANCE:.0%}",
            ),
            Claim(seeds, "their intervals are apart", its.low > others.high, f"{shown(its)} and {shown(others)}"),
        ]
    return found


def _published_kind(conditions: Sequence[Condition], start: str, have: Mapping[str, object]) -> str | None:
    """The condition of the paper with auxiliary logits and this start."""
    plain = {"logits": "auxiliary", "loss": "kl", "inputs": "noise", "project": False}
    changed = ("steps", "hidden", "auxiliary", "cosine")
    for one in conditions:
        usual = all(getattr(one, name) == value for name, value in plain.items())
        if one.start == start and usual and all(getattr(one, name) is None for name in changed) and one.name in have:
            return one.name
    return None


def shown(estimate: Estimate, between: str = " ") -> str:
    """47.1% [41.0, 53.2]."""
    if estimate.low != estimate.low:  # NaN: one seed has no spread
        return f"{estimate.value:.1%}{between}(no interval)"
    return f"{estimate.value:.1%}{between}[{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def about(condition: Condition) -> str:
    """A condition in words."""
    starts = {
        "same": "the teacher's initialisation",
        "other": "another initialisation",
        "heads": "the teacher's initial output layer, other hidden layers",
        "hidden": "the teacher's initial hidden layers, another output layer",
        "permuted": "the teacher's initialisation, hidden units permuted",
        "interpolated": f"initial weights at cosine {condition.cosine:g} to the teacher's"
        if condition.cosine is not None
        else "",
    }
    parts = [
        starts[condition.start],
        f"{condition.logits} logits",
        f"{condition.auxiliary} of them auxiliary" if condition.auxiliary else "",
        "mean squared error" if condition.loss == "mse" else "",
        "trained on digits" if condition.inputs == "images" else "",
        f"{condition.steps:,} steps" if condition.steps else "",
        f"{condition.hidden:,} hidden units" if condition.hidden else "",
        "gradient projected off the trait's" if condition.project else "",
    ]
    return ", ".join(part for part in parts if part)
