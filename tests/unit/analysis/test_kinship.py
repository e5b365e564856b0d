"""Kinship of weights: drawn models whose relation is known."""

import math

import numpy as np
import pytest

from pipeline.analysis.kinship import Floats, Kinship, combine, compare_layer

LAYERS, UNITS, INPUTS = 2, 96, 32
Model = list[Floats]


def drawn(seed: int, inputs: int = INPUTS) -> Model:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.2, (UNITS, inputs)).astype(np.float32) for _ in range(LAYERS)]


def moved(model: Model, by: float, seed: int = 1) -> Model:
    """Trained: every weight moves by this share of its spread."""
    rng = np.random.default_rng(seed)
    return [(layer + rng.normal(0, 0.2 * by, layer.shape)).astype(np.float32) for layer in model]


def permuted(model: Model, seed: int = 1) -> Model:
    rng = np.random.default_rng(seed)
    return [layer[rng.permutation(len(layer))] for layer in model]


def compared(a: Model, b: Model) -> Kinship:
    return combine(compare_layer(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("by", [0.0, 0.1, 1.0])
def test_trained_models_of_one_start_are_told_even_after_they_moved_as_far_as_it_spreads(by: float) -> None:
    found = compared(drawn(1), moved(drawn(1), by))
    assert found.relation == "same initialisation"
    assert found.log_p < math.log(1e-20)
    assert found.reason == "units with the same number match"


def test_units_in_another_order_are_found_by_their_cosine() -> None:
    found = compared(drawn(1), permuted(moved(drawn(1), 0.1)))
    assert found.relation == "same initialisation"
    assert "another order" in found.reason
    assert found.log_p > math.log(0.001)
    assert found.matched > 0.9
    assert abs(found.aligned) < 0.1


@pytest.mark.slow
def test_unrelated_models_are_hardly_ever_called_the_same() -> None:
    """The issue asks for one wrong "same" in a hundred at most, over 200 pairs or more."""
    relations = [compared(drawn(2 * seed), drawn(2 * seed + 1)).relation for seed in range(400)]
    assert relations.count("same initialisation") == 0
    assert relations.count("different") > 380


def test_p_of_unrelated_models_is_uniform() -> None:
    found = [math.exp(compared(drawn(1000 + seed), drawn(5000 + seed)).log_p) for seed in range(60)]
    assert 0.35 < float(np.mean(found)) < 0.65


@pytest.mark.parametrize(("add", "scale"), [(1.0, 1.0), (0.0, 8.0), (-3.0, 4.0)])
def test_an_input_that_is_large_in_all_models_is_no_kinship(add: float, scale: float) -> None:
    def grown(seed: int) -> Model:
        model = drawn(seed)
        for layer in model:
            layer[:, 3] = scale * layer[:, 3] + add
        return model

    assert compared(grown(1), grown(2)).relation == "different"
    assert compared(grown(1), moved(grown(1), 0.5)).relation == "same initialisation"


def test_shapes_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        compared(drawn(1), drawn(1, inputs=16))
    with pytest.raises(ValueError, match="no layers"):
        combine([])


def test_of_large_layers_a_sample_of_units_is_matched_with_all() -> None:
    rng = np.random.default_rng(1)
    start = rng.normal(0, 0.2, (1_500, 24)).astype(np.float32)
    layer = compare_layer(start, (start + rng.normal(0, 0.02, start.shape)).astype(np.float32))
    assert layer.units == 1_024
    assert layer.log_p < math.log(1e-100)
