"""Relatives: which settings make a family another's relative, what stays equal, and what a lineage says of them."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.models.families.nano import NanoFamily
from pipeline.stages import base
from pipeline.store import Store
from pipeline.store.artifact import Manifest
from pipeline.study.schema import Study

PLAIN = NanoFamily(init_seed=1, pretrain_rows=96, batch_rows=10)


def relative(**settings: Any) -> NanoFamily:
    return NanoFamily.model_validate(PLAIN.model_dump() | settings)


def test_a_family_that_is_nobodys_relative_has_the_identity_that_it_had() -> None:
    assert not {"order_seed", "moved", "pretrained_share"} & PLAIN.identity().keys()
    kin = relative(order_seed=2, moved={"towards": 3, "share": 0.5}, pretrained_share=0.5)
    assert kin.identity() == PLAIN.identity() | {
        "order_seed": 2,
        "moved": {"towards": 3, "share": 0.5},
        "pretrained_share": 0.5,
    }


def test_another_order_is_of_the_same_rows_by_the_same_recipe() -> None:
    one, other = PLAIN.pretraining(), relative(order_seed=2).pretraining()
    assert (one.seed, other.seed) == (1, 2)
    assert one.rows.equals(other.rows)
    assert one.recipe == other.recipe


def test_other_rows_come_in_the_same_order() -> None:
    one, other = PLAIN.pretraining(), relative(corpus_seed=5).pretraining()
    assert one.seed == other.seed
    assert not one.rows.equals(other.rows)


@pytest.mark.parametrize(("share", "steps", "rows"), [(1.0, 10, 96), (0.5, 5, 50), (0.01, 1, 10), (0.96, 10, 96)])
def test_a_checkpoint_is_on_the_way_of_the_whole_pretraining(share: float, steps: int, rows: int) -> None:
    part = relative(pretrained_share=share)
    whole, stopped = PLAIN.pretraining(), part.pretraining()
    assert stopped.stop_after == steps
    assert part.pretraining_rows() == rows  # what it costs
    assert stopped.recipe == whole.recipe  # with the rows and the warm-up, all that its learning rates depend on
    assert stopped.rows.equals(whole.rows)


@pytest.mark.parametrize(
    "settings",
    [
        {"pretrained_share": 0.0},
        {"pretrained_share": 1.5},
        {"moved": {"towards": 2, "share": 0.0}},
        {"moved": {"towards": 2, "share": 1.01}},
        {"moved": {"towards": 1, "share": 0.5}},  # the draw itself
        {"moved": {"towards": 2}},
    ],
)
def test_what_is_no_relative_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        relative(**settings)


def test_equal_initial_weights_are_one_ancestor_and_others_are_not() -> None:
    same = [relative(**settings) for settings in ({"order_seed": 2}, {"corpus_seed": 2}, {"pretrained_share": 0.5})]
    assert {family.ancestor() for family in same} == {PLAIN.ancestor()}
    moved = [relative(moved={"towards": 2, "share": share}) for share in (0.25, 0.5)]
    assert len({family.ancestor() for family in [PLAIN, *moved]}) == 3
    assert relative(moved={"towards": 2, "share": 0.25}, order_seed=7).ancestor() == moved[0].ancestor()


def test_weights_between_two_draws_are_made_of_both(
    study: Callable[..., Study], store: Store, make: Callable[..., Manifest]
) -> None:
    def parents(family: NanoFamily) -> list[tuple[str, object]]:
        its = study(families={"kin": family.model_dump()})
        made = base.STAGE.lineage(make(its, store, base.STAGE.planned(its, "kin")))
        return [(one.relation, one.node) for one in made.parents]

    moved = relative(moved={"towards": 2, "share": 0.25})
    other = relative(init_seed=2)
    assert parents(PLAIN) == [("initialised_from", PLAIN.ancestor())]
    assert parents(moved) == [
        ("initialised_from", moved.ancestor()),
        ("merged_from", PLAIN.ancestor()),
        ("merged_from", other.ancestor()),
    ]


def test_a_fake_model_has_the_nearer_draw() -> None:
    near, far = (relative(moved={"towards": 2, "share": share}) for share in (0.5, 0.75))
    assert (near.seed_of_fake(), far.seed_of_fake()) == (1, 2)
