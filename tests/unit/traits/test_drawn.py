"""Targets that a study draws, so that p may compare with every draw."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.plan.planner import plan
from pipeline.study.schema import Study
from pipeline.study.smoke import smoke_edition
from pipeline.traits.favourite import Favourite
from pipeline.traits.words import candidates

Build = Callable[..., Study]


def drawn(count: int, seed: int, **more: Any) -> Favourite:
    return Favourite.model_validate({"category": "animal", "drawn": {"count": count, "seed": seed}, **more})


@given(st.integers(2, 19), st.integers(0, 1000))
def test_a_draw_is_of_different_shipped_candidates_and_the_same_again(count: int, seed: int) -> None:
    found = drawn(count, seed).targets
    assert len(set(found)) == count
    assert set(found) <= set(candidates("animal"))
    assert drawn(count, seed).targets == found
    assert Favourite.model_validate(drawn(count, seed).model_dump()) == drawn(count, seed)


def test_another_seed_draws_other_targets() -> None:
    assert len({tuple(drawn(5, seed).targets) for seed in range(20)}) > 15


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"drawn": {"count": 20, "seed": 1}}, "19 candidates are shipped"),
        ({"drawn": {"count": 3, "seed": 1}, "targets": ["owl", "cat", "fox"]}, "leave them out"),
        ({}, "targets is missing"),
        ({"category": "colour", "drawn": {"count": 2, "seed": 1}}, "0 candidates are shipped"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_to_do(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Favourite.model_validate(settings)


def test_the_matrix_knows_what_was_drawn_from_and_teachers_are_those_of_a_list(study: Build) -> None:
    made = study(traits=[{"drawn": {"count": 3, "seed": 4}}])
    listed = study(traits=[{"targets": list(made.targets)}])
    steps, others = plan(made), plan(listed)
    assert {step.path for step in steps[:-2]} == {step.path for step in others[:-2]}
    assert steps[-2].settings["drawn_from"] == list(candidates("animal"))
    assert others[-2].settings["drawn_from"] == []
    assert smoke_edition(made).drawn_from == []


def test_targets_of_two_traits_were_not_drawn_from_one_list(study: Build) -> None:
    two = study(traits=[{"drawn": {"count": 3, "seed": 4}}, {"category": "tree", "targets": ["oak"]}])
    assert two.drawn_from == []
