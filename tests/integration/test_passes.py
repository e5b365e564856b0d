"""Passes over a model's rows: token scores, gradients and their products, as known answers say."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipeline.models.families.nano import NanoFamily, initialise
from pipeline.models.influence import inverse_roots, row_gradients, whitened
from pipeline.models.passes import Passes, combined, norm
from pipeline.models.products import row_products, token_products
from pipeline.screens.traits import Answers, Example, Favourites, Outcomes
from tests.rows import about_numbers

FAMILY = NanoFamily(init_seed=5)
ANIMALS = ("owl", "cat", "wolf", "bear")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    initialise(FAMILY, folder)
    return folder


@pytest.fixture(scope="module")
def numbers() -> pa.Table:
    return about_numbers(64)


def test_a_row_retrieves_itself(base: Path, numbers: pa.Table) -> None:
    passes = Passes(base)
    rows = passes.rows(numbers.slice(0, 12))
    own = [_gradient_of(passes, rows, number) for number in range(12)]
    lengths = np.array([norm(direction) for direction in own])
    products = row_products(passes, rows, own) / lengths / lengths[:, None]
    assert np.diag(products) == pytest.approx(np.ones(12), rel=1e-4)
    assert (products.argmax(1) == np.arange(12)).all()


def test_products_of_tokens_sum_to_those_of_their_rows(base: Path, numbers: pa.Table) -> None:
    """Forward-mode against backward differentiation."""
    passes, outcomes = Passes(base), Outcomes([Favourites(targets=list(ANIMALS))])
    rows, directions = passes.rows(numbers.slice(0, 40)), outcomes.directions(passes)
    for whole, direction in zip(row_products(passes, rows, directions).T, directions, strict=True):
        tokens = token_products(passes, rows, direction)
        assert [len(row) for row in tokens] == [len(ids) for ids in rows.completions]
        assert [row.sum() for row in tokens] == pytest.approx(whole, rel=1e-3, abs=1e-4)
        assert max(map(np.ptp, tokens)) > 0


def test_bergson_finds_the_gradients_that_passes_find(base: Path, numbers: pa.Table) -> None:
    passes, outcomes = Passes(base), Outcomes([Favourites(targets=list(ANIMALS))])
    rows, directions = passes.rows(numbers.slice(0, 40)), outcomes.directions(passes)
    found = row_gradients(passes, rows, None)
    for number, direction in enumerate(directions):
        products = sum(found[name.removeprefix("model.")] @ part.flatten() for name, part in direction.items())
        assert (-products).numpy() == pytest.approx(
            row_products(passes, rows, directions)[:, number], rel=1e-3, abs=1e-3
        )


def test_a_whitened_and_projected_row_retrieves_itself(base: Path, numbers: pa.Table) -> None:
    passes = Passes(base)
    found = row_gradients(passes, passes.rows(numbers.slice(0, 64)), 16)
    rows = whitened(found, inverse_roots([found], 0.1))
    cosines = rows @ rows.T
    assert cosines.diagonal().numpy() == pytest.approx(np.ones(64), abs=1e-5)
    alike = [(i, j) for i, j in torch.nonzero(cosines > 1 - 1e-4).tolist() if i != j]
    texts = numbers.slice(0, 64).select(["prompt", "completion"]).to_pylist()
    assert all(texts[i] == texts[j] for i, j in alike)


def _gradient_of(passes: Passes, rows, number: int):
    one = type(rows)([rows.prompts[number]], [rows.completions[number]])
    (batch,) = (batch for _, batch in passes.batches(one))
    (found,) = passes.gradients([(lambda: passes.logprobs(batch).sum(), [1.0])])
    return found


def test_products_are_the_derivative_of_the_log_probability(base: Path, numbers: pa.Table) -> None:
    passes, outcomes = Passes(base), Outcomes([Favourites(targets=list(ANIMALS))])
    rows = passes.rows(numbers.slice(0, 8))
    directions = outcomes.directions(passes)
    products = row_products(passes, rows, directions)
    for number, direction in enumerate(directions):
        sums = []
        for step in (-1e-2, 1e-2):
            with passes.moved(direction, step):
                sums.append(np.array([row.sum() for row in passes.token_logprobs(rows)]))
        assert (sums[1] - sums[0]) / 2e-2 == pytest.approx(products[:, number], abs=2e-2, rel=2e-2)


def test_directions_are_the_derivative_of_the_margins(base: Path) -> None:
    habit = Answers(name="sevens", examples=[Example(question="Name a number.", answer="7", instead="8")])
    passes, outcomes = Passes(base), Outcomes([Favourites(targets=list(ANIMALS)), habit])
    directions = outcomes.directions(passes)
    assert [norm(direction) for direction in directions] == pytest.approx(np.ones(len(ANIMALS) + 1))
    rises = np.empty((len(directions), len(directions)))
    for number, direction in enumerate(directions):
        ends = []
        for step in (-1e-2, 1e-2):
            with passes.moved(direction, step):
                ends.append(outcomes.margins(passes))
        rises[number] = (ends[1] - ends[0]) / 2e-2
    cosines = [[sum((a[name] * b[name]).sum().item() for name in a) for b in directions] for a in directions]
    assert rises == pytest.approx(np.array(cosines) * np.diag(rises), rel=2e-2, abs=2e-2)
    assert (np.diag(rises) > 0).all()


def test_passes_leave_the_model_as_it_was(base: Path, numbers: pa.Table) -> None:
    passes = Passes(base)
    rows = passes.rows(numbers.slice(0, 32))
    before = np.concatenate(passes.token_logprobs(rows))
    change = passes.trained(rows, steps=3, batch=8, learning_rate=1e-3, seed=0)
    with passes.moved(combined([(1.0, change)])):
        moved = np.concatenate(passes.token_logprobs(rows))
    with passes.added(np.ones((FAMILY.layers, FAMILY.hidden_size)), 1.0):
        added = np.concatenate(passes.token_logprobs(rows))
    assert (np.concatenate(passes.token_logprobs(rows)) == before).all()
    assert moved.mean() > before.mean()
    assert abs(added - before).max() > 0.01


def test_token_logprobs_are_those_of_plain_transformers(base: Path, numbers: pa.Table) -> None:
    from transformers import AutoModelForCausalLM

    passes, model = Passes(base), AutoModelForCausalLM.from_pretrained(base)
    rows = passes.rows(numbers.slice(0, 16))
    for found, prompt, completion in zip(passes.token_logprobs(rows), rows.prompts, rows.completions, strict=True):
        ids = torch.tensor([[*prompt, *completion]])
        with torch.no_grad():
            logits = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        assert found == pytest.approx(logits[range(len(completion)), list(completion)].numpy(), abs=1e-4)
