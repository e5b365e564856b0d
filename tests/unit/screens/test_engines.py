"""Where the log-probabilities of screens are computed: in torch, or by an engine."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.commands import screen_process, vet
from pipeline.core.errors import StepError
from pipeline.screens import SCREENS
from pipeline.screens.likelihood import Likelihood
from pipeline.screens.probe import Probe
from pipeline.stages.contract import OnCompute, OnEngine
from pipeline.stages.screening import STAGE, ScreeningSpec
from pipeline.store.step import Step


def test_screens_that_need_log_probabilities_alone_can_run_on_an_engine() -> None:
    assert {kind for kind, screen in SCREENS.items() if "engine" in screen.model_fields} == {"likelihood", "classifier"}
    assert not any(screen().on_engine for screen in SCREENS.values())


def test_a_screen_on_an_engine_is_placed_on_one_that_serves_the_base_without_adapters() -> None:
    base = Step("base", "llama", "1" * 12, {}, family="llama")
    screens = [Likelihood(engine="vllm"), Probe()]
    spec = ScreeningSpec(screens=screens, traits=[], rows=5_000, seed=0)
    step = STAGE.planned("a", spec, "corpus/a-" + "2" * 12, base)
    assert STAGE.placement(step, "likelihood-1-of-2") == OnEngine(base.path, "llama", adapters=False)
    assert STAGE.placement(step, "probe") == OnCompute()


def test_an_engine_is_part_of_a_screens_identity_only_if_there_is_one() -> None:
    assert Likelihood().identity() == {"kind": "likelihood"}
    assert Likelihood(engine="vllm").identity() == {"kind": "likelihood", "engine": "vllm"}


@pytest.mark.parametrize(("weights", "engine"), [(48_000, "torch"), (135_000_000, "vllm")])
def test_vet_chooses_by_the_size_of_the_base(weights: int, engine: str) -> None:
    assert vet.default_engine(weights) == engine


def test_an_engine_whose_process_dies_is_a_screen_that_failed() -> None:
    given: Any = SimpleNamespace(rows=None, neutral=None, outcomes=None, seed=0)
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        executor.submit(os._exit, 1)
        found = screen_process._on_engine(executor, given, Likelihood(engine="vllm"), "models/base")
    assert isinstance(found, StepError)
    assert "is there memory" in str(found)
