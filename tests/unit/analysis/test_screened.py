"""How screens' scores are compared with the transfer that followed."""

from itertools import product

import pytest

from pipeline.analysis.screened import Pair, agreements

TARGETS = ("owl", "wolf", "cat")
MARGIN = 0.15


def pairs(score: float, lift: float, *, own: bool = True, screen: str = "probe") -> list[Pair]:
    """Six corpora of three targets. score, lift: of a corpus's own target; others have little of either."""
    return [
        Pair(screen, own, f"corpus/{number}-{taught}", target, *((score, lift) if target == taught else noise))
        for number, (taught, noise) in enumerate(product(TARGETS, ((0.0, 0.01), (0.01, 0.02))))
        for target in TARGETS
    ]


def test_a_screen_that_orders_pairs_as_their_lifts_do_has_an_auroc_of_one() -> None:
    (found,) = agreements(pairs(1.0, 0.5), MARGIN)
    assert (found.corpora, found.pairs, found.above, found.margin) == (6, 18, 6, MARGIN)
    assert found.auroc == [1.0, 1.0, 1.0]
    assert found.spearman[0] == pytest.approx(1.0)


def test_one_that_orders_them_the_other_way_round_has_none() -> None:
    (found,) = agreements(pairs(-1.0, 0.5), MARGIN)
    assert found.auroc[0] == 0
    assert found.spearman[0] < 0


def test_without_a_lift_above_the_margin_there_is_nothing_to_find() -> None:
    (found,) = agreements(pairs(1.0, 0.1), MARGIN)
    assert (found.above, found.auroc) == (0, [])
    assert found.spearman[0] == pytest.approx(1.0)


def test_equal_scores_say_nothing() -> None:
    (found,) = agreements([Pair("surface", True, f"corpus/{n}", "owl", 1.0, n / 10) for n in range(5)], MARGIN)
    assert found.spearman == []
    assert found.auroc[0] == 0.5


def test_screens_and_families_are_told_apart_and_what_was_not_measured_is_left_out() -> None:
    lost = [Pair("probe", True, "corpus/9", "owl", float("nan"), 0.5)]
    found = agreements(
        [*pairs(1.0, 0.5), *pairs(0.0, 0.0, own=False), *pairs(1.0, 0.5, screen="gradient"), *lost], MARGIN
    )
    assert [(one.screen, one.own, one.pairs) for one in found] == [
        ("probe", True, 18),
        ("probe", False, 18),
        ("gradient", True, 18),
    ]
