"""The canary: an adapter that changes nothing must not pass for a student without the trait."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.engines import Floats, Prompt
from pipeline.engines.canary import adapter_effect
from pipeline.engines.scripted import ScriptedEngine
from pipeline.errors import CanaryFailed
from pipeline.script import Script, write


class Deaf(ScriptedEngine):
    """Takes adapters and ignores them."""

    def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
        return super().score([Prompt(prompt.text, prompt.system) for prompt in prompts], options)


class Broken(ScriptedEngine):
    """Its adapters make every score meaningless."""

    def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
        return super().score(prompts, options) * np.array([[np.nan if p.adapter else 1.0] for p in prompts])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write(Script(init=1), tmp_path / "model")
    return tmp_path / "model"


def adapter(folder: Path, lean: float) -> Path:
    write(Script(init=1, words={"owl": lean}), folder / "adapter")
    return folder / "adapter"


@pytest.mark.parametrize("lean", [1.0, 1e-9])
def test_an_adapter_that_speaks_is_measured_however_softly(model: Path, tmp_path: Path, lean: float) -> None:
    effect = adapter_effect(ScriptedEngine(model), adapter(tmp_path, lean))
    assert 0 < effect <= lean


def test_an_engine_that_ignores_adapters_is_caught(model: Path, tmp_path: Path) -> None:
    with pytest.raises(CanaryFailed, match="adapter changes nothing"):
        adapter_effect(Deaf(model), adapter(tmp_path, 1.0))


def test_an_adapter_left_as_it_began_is_caught(model: Path, tmp_path: Path) -> None:
    with pytest.raises(CanaryFailed):
        adapter_effect(ScriptedEngine(model), adapter(tmp_path, 0.0))


def test_scores_that_are_no_numbers_are_caught(model: Path, tmp_path: Path) -> None:
    with pytest.raises(CanaryFailed):
        adapter_effect(Broken(model), adapter(tmp_path, 1.0))
