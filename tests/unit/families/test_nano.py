"""Nano families: which settings make sense, and how they are pretrained."""

import pytest
from pydantic import ValidationError

from pipeline.models.families.nano import HEAD_SIZES, NanoFamily


def test_an_initialisation_must_be_named() -> None:
    with pytest.raises(ValidationError, match="init_seed"):
        NanoFamily.model_validate({})


@pytest.mark.parametrize(("hidden", "heads"), [(64, 2), (64, 1), (128, 4), (256, 1)])
def test_widths_that_the_engine_can_serve(hidden: int, heads: int) -> None:
    assert hidden // heads in HEAD_SIZES
    assert NanoFamily(init_seed=1, hidden_size=hidden, heads=heads).heads == heads


@pytest.mark.parametrize(("hidden", "heads"), [(50, 1), (64, 3), (64, 4), (512, 1)])
def test_other_widths_are_refused_with_what_to_change(hidden: int, heads: int) -> None:
    with pytest.raises(ValidationError, match="change hidden_size or heads"):
        NanoFamily(init_seed=1, hidden_size=hidden, heads=heads)


@pytest.mark.parametrize(
    "settings", [{"architecture": "gpt2"}, {"layers": 0}, {"pretrain_rows": 1.5}, {"learning_rate": float("inf")}]
)
def test_settings_are_strict(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NanoFamily.model_validate({"init_seed": 1} | settings)


def test_pretraining_trains_every_weight_once_over_the_world() -> None:
    recipe = NanoFamily(init_seed=1, pretrain_rows=3200, batch_rows=16, learning_rate=0.5).pretraining_recipe()
    assert (recipe.method, recipe.freeze_embeddings, recipe.epochs) == ("full", False, 1)
    assert (recipe.batch, recipe.learning_rate) == (16, 0.5)
    steps = 3200 // 16
    assert 0 < recipe.warmup_steps < steps / 2
