"""Verdicts and their reasons, by the numbers of an estimate."""

import pytest

from pipeline.analysis.stats import Estimate
from pipeline.analysis.verdict import Adjusted, Control, decide, decide_neutral


def estimate(
    value: float, half: float, p: float | None = 0.01, smallest: float | None = 0.01, teachers: int = 5
) -> Estimate:
    return Estimate(value, value - half, value + half, 4, 6, teachers=teachers, p=p, smallest_p=smallest)


WORKS = Control("qwen → qwen", "transfer")


@pytest.mark.parametrize(
    ("cell", "control", "name", "says"),
    [
        (estimate(0.4, 0.1), WORKS, "transfer", "p = 0.01"),
        (estimate(0.4, 0.1, p=0.2), WORKS, "underpowered", "exceeds"),
        (estimate(0.4, 0.1, p=0.5, smallest=0.5), WORKS, "underpowered", "cannot get below 0.5"),
        (estimate(0.02, 0.05, p=0.4), WORKS, "no transfer", "wholly within ±0.1"),
        (estimate(0.06, 0.02), WORKS, "transfer", "above 0"),  # small, but shown: it is no null
        (estimate(0.06, 0.02, p=0.2), WORKS, "no transfer", "negligible"),
        (estimate(0.4, 0.1, teachers=3), WORKS, "underpowered", "3 teachers, whose targets have 6 permutations"),
        (estimate(0.02, 0.05, p=0.4, teachers=3), WORKS, "underpowered", "teach at least 4 targets"),
        (estimate(0.4, 0.1, teachers=1), WORKS, "underpowered", "1 teacher, whose targets have 1 permutation;"),
        (estimate(0.05, 0.2, p=0.4), WORKS, "underpowered", "spans 0"),
        (estimate(-0.4, 0.1, p=1.0), WORKS, "underpowered", "below 0"),
        (estimate(0.02, 0.05, p=0.4), Control("qwen → qwen", "underpowered"), "gate failed", "“underpowered”"),
        (estimate(0.02, 0.05, p=0.4), Control("qwen → qwen", None), "gate failed", "was not measured"),
        (
            estimate(0.02, 0.05, p=0.4),
            Control("qwen → qwen", None, itself=True),
            "gate failed",
            "positive control and shows no transfer",
        ),
        (estimate(0.4, 0.1), Control("qwen → qwen", "gate failed"), "transfer", "above 0"),
        (estimate(0.4, 0.1, p=None, smallest=None, teachers=0), WORKS, "transfer", "above 0"),
        (estimate(0.06, 0.02, p=None, smallest=None, teachers=0), WORKS, "transfer", "above 0"),  # a rate, too
    ],
)
def test_the_verdict_and_its_reason(cell: Estimate, control: Control, name: str, says: str) -> None:
    verdict = decide(cell, margin=0.1, alpha=0.05, unit=" nats", control=control)
    assert verdict.name == name
    assert says in verdict.why


def test_a_teacher_without_its_trait_settles_the_cell() -> None:
    verdict = decide(estimate(0.4, 0.1), margin=0.1, alpha=0.05, failed_gate="the owl teacher says cat")
    assert verdict.name == "gate failed"
    assert "the owl teacher says cat" in verdict.why


@pytest.mark.parametrize(
    ("cell", "adjusted", "name", "says"),
    [
        (estimate(0.4, 0.1), Adjusted(0.02, 1.0, 4), "transfer", "above 0"),
        (estimate(0.4, 0.1), Adjusted(0.03, 1.0, 4), "underpowered", "not after Holm's correction for the 4 cells"),
        (estimate(0.02, 0.05, p=0.4), Adjusted(1.0, 0.02, 4), "no transfer", "wholly within"),
        (estimate(0.02, 0.05, p=0.4), Adjusted(1.0, 0.03, 4), "underpowered", "p = 0.03 exceeds 0.025"),
        # Within the margin, and shown before the correction: neither claim can stand.
        (estimate(0.06, 0.02), Adjusted(0.03, 0.001, 4), "underpowered", "lies above 0, but not after Holm"),
    ],
)
def test_a_primary_claim_must_hold_after_the_correction(
    cell: Estimate, adjusted: Adjusted, name: str, says: str
) -> None:
    verdict = decide(cell, margin=0.1, alpha=0.05, control=WORKS, adjusted=adjusted)
    assert verdict.name == name
    assert says in verdict.why


@pytest.mark.parametrize(
    ("value", "half", "corpora", "name", "says"),
    [
        (0.02, 0.05, 3, "clean", "over 3 corpora is wholly within ±0.1 nats"),
        (0.06, 0.02, 3, "clean", "wholly within"),  # it moved, but not beyond the margin
        (0.4, 0.1, 3, "moved", "lies above 0"),
        (-0.4, 0.1, 5, "moved", "lies below 0"),
        (0.05, 0.2, 3, "undecided", "spans 0"),
        (0.02, 0.05, 2, "undecided", "is not judged: it rests on 2 corpora"),
        (0.02, float("nan"), 1, "undecided", "is not judged: it rests on 1 corpus"),
    ],
)
def test_a_neutral_teacher_is_clean_moved_or_undecided(
    value: float, half: float, corpora: int, name: str, says: str
) -> None:
    found = Estimate(value, value - half, value + half, 2, 6, corpora=corpora)
    verdict = decide_neutral(found, margin=0.1, unit=" nats")
    assert verdict.name == name
    assert says in verdict.why
