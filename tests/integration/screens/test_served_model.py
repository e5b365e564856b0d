"""A base in a vLLM engine says of rows, answers and bags what it says in torch."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.errors import CanaryFailed, StepError
from pipeline.models import served_model
from pipeline.models.engines import TokenEngine, open_engine
from pipeline.models.passes import Passes
from pipeline.models.served_model import ServedModel
from pipeline.models.trainers.batches import Rows
from pipeline.models.trainers.reference import reference
from pipeline.screens.base import ForwardScreen, ScreenInput
from pipeline.screens.classifier import Classifier
from pipeline.screens.likelihood import Likelihood
from pipeline.screens.sampled import own_answers
from pipeline.screens.traits import Answers, Example, Favourites, Outcomes
from tests.rows import ANIMALS, ROWS

EXACT = 1e-4  # nats; vLLM and torch add in another order
HABIT = Answers(name="terse", examples=[Example(question="Why?", answer="no", instead="owl owl")])


@pytest.fixture(scope="module")
def served(base: Path) -> ServedModel:
    return served_model.serve(base)


def test_tokens_of_rows_are_as_probable_as_in_torch(served: ServedModel, base: Path, numbers: pa.Table) -> None:
    passes = Passes(base)
    rows = passes.rows(numbers.slice(0, 64), "You love owls.")
    for found, wanted in zip(served.token_logprobs(rows), passes.token_logprobs(rows), strict=True):
        np.testing.assert_allclose(found, wanted, atol=EXACT)


@pytest.mark.parametrize("answer", [1, 2, 100])
def test_a_row_may_fill_the_whole_context(served: ServedModel, base: Path, answer: int) -> None:
    passes = Passes(base)
    ids = np.random.default_rng(0).integers(10, 100, passes.context)
    rows = Rows([ids[:-answer]], [ids[-answer:]])
    (found,), (wanted,) = served.token_logprobs(rows), passes.token_logprobs(rows)
    assert served.context == passes.context
    np.testing.assert_allclose(found, wanted, atol=EXACT)


def test_a_row_beyond_the_context_is_refused(served: ServedModel) -> None:
    long = pa.table({"prompt": ["Why?"], "completion": ["owl " * served.context]})
    with pytest.raises(StepError, match="the longest row has"):
        served.rows(long)


@pytest.mark.parametrize("screen", [Likelihood(), Classifier(bags=2)], ids=lambda screen: screen.kind)
def test_a_screen_on_an_engine_gives_the_scores_of_torch(
    screen: ForwardScreen, served: ServedModel, base: Path, planted: pa.Table, numbers: pa.Table
) -> None:
    outcomes = Outcomes([Favourites(targets=list(ANIMALS)), HABIT])
    given = ScreenInput(planted.slice(0, 64), numbers.slice(ROWS, 64), Passes(base), outcomes)
    there = ScreenInput(given.rows, given.neutral, served, outcomes)
    wanted, found = screen.score(given), screen.model_copy(update={"engine": "vllm"}).score(there)
    assert found.targets == wanted.targets
    np.testing.assert_allclose(found.corpus, wanted.corpus, atol=EXACT)
    np.testing.assert_allclose(found.error, wanted.error, atol=EXACT)


def test_own_answers_are_sampled_and_have_tokens(served: ServedModel, numbers: pa.Table) -> None:
    rows = numbers.slice(0, 64)
    sampled = own_answers(served, rows, seed=0)
    assert sampled["prompt"].to_pylist() == rows["prompt"].to_pylist()
    texts = sampled["completion"].to_pylist()
    assert all(texts)
    assert len(set(texts)) > 32
    assert own_answers(served, rows, seed=0).equals(sampled)
    assert own_answers(served, rows, seed=1)["completion"].to_pylist() != texts


def test_a_base_that_is_not_served_as_it_is_stored_is_refused(
    served: ServedModel, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No score comes from it. The engine is right here, and what is stored is said to be another model."""

    def of_another(model: Path, adapter: None) -> dict[str, object]:
        known = reference(model, adapter)
        return known | {"scores": [[score + 1 for score in row] for row in known["scores"]]}

    monkeypatch.setattr(served_model, "reference", of_another)
    monkeypatch.setattr("pipeline.models.engines.vllm.VllmEngine", lambda *given, **settings: served._engine)
    with pytest.raises(CanaryFailed, match="differs by 1"):
        served_model.serve(base)


@pytest.fixture
def with_adapters(base: Path) -> Iterator[TokenEngine]:
    from pipeline.models.engines.vllm import VllmEngine

    engine = open_engine("vllm", base, memory_gib=1, adapter_rank=8)
    assert isinstance(engine, VllmEngine)
    yield engine
    engine.close()


def test_an_engine_with_adapters_refuses_to_score_tokens_and_goes_on(
    with_adapters: TokenEngine, base: Path, numbers: pa.Table
) -> None:
    """vLLM 0.32 mixes up the adapters of a prompt's tokens there, which ends the engine."""
    model = ServedModel(base, with_adapters)
    with pytest.raises(StepError, match="serves adapters"):
        model.token_logprobs(model.rows(numbers.slice(0, 2)))
    assert with_adapters.alive()
    assert model.sampled(["Why?"], 4, 0)
