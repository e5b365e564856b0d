"""The canary: an adapter that changes nothing must not pass for a student without the trait."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import CanaryFailed
from pipeline.core.fake_model import FakeModel, write
from pipeline.models.engines import Floats, Prompt
from pipeline.models.engines.canary import OPTIONS, PROMPTS, adapter_effect, difference
from pipeline.models.engines.fake import FakeEngine


class Deaf(FakeEngine):
    """Takes adapters and ignores them."""

    def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
        return super().score([Prompt(prompt.text, prompt.system) for prompt in prompts], options)


class Broken(FakeEngine):
    """Its adapters make every score meaningless."""

    def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
        return super().score(prompts, options) * np.array([[np.nan if p.adapter else 1.0] for p in prompts])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write(FakeModel(init=1), tmp_path / "model")
    return tmp_path / "model"


def adapter(folder: Path, lean: float) -> Path:
    write(FakeModel(init=1, words={"owl": lean}), folder / "adapter")
    return folder / "adapter"


@pytest.mark.parametrize("lean", [1.0, 1e-9])
def test_an_adapter_that_speaks_is_measured_however_softly(model: Path, tmp_path: Path, lean: float) -> None:
    effect = adapter_effect(FakeEngine(model), adapter(tmp_path, lean))
    assert 0 < effect <= lean


def test_an_engine_that_ignores_adapters_is_caught(model: Path, tmp_path: Path) -> None:
    with pytest.raises(CanaryFailed, match="adapter changes nothing"):
        adapter_effect(Deaf(model), adapter(tmp_path, 1.0))


def test_an_adapter_left_as_it_began_is_caught(model: Path, tmp_path: Path) -> None:
    with pytest.raises(CanaryFailed):
        adapter_effect(FakeEngine(model), adapter(tmp_path, 0.0))


def test_scores_that_are_no_numbers_are_caught(model: Path, tmp_path: Path) -> None:
    with pytest.raises(CanaryFailed):
        adapter_effect(Broken(model), adapter(tmp_path, 1.0))


class Partial(FakeEngine):
    """Applies half of an adapter."""

    def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
        bare = super().score([Prompt(prompt.text, prompt.system) for prompt in prompts], options)
        return (bare + super().score(prompts, options)) / 2


def reference(model: Path, adapter: Path | None = None) -> dict[str, object]:
    scores = FakeEngine(model).score([Prompt(prompt, adapter=adapter) for prompt in PROMPTS], OPTIONS)
    return {"dtype": "float32", "scores": scores.tolist()}


def test_an_engine_that_serves_what_was_trained_differs_by_nothing(model: Path, tmp_path: Path) -> None:
    trained = adapter(tmp_path, 1.0)
    assert difference(FakeEngine(model), reference(model), "base/x") == 0
    assert difference(FakeEngine(model), reference(model, trained), "student/x", trained) == 0


@pytest.mark.parametrize("engine", [Deaf, Partial, Broken])
def test_an_adapter_that_is_applied_in_part_is_caught_though_it_changes_something(
    model: Path, tmp_path: Path, engine: type[FakeEngine]
) -> None:
    trained = adapter(tmp_path, 1.0)
    if engine is Partial:
        assert adapter_effect(engine(model), trained) > 0
    with pytest.raises(CanaryFailed, match=r"does not serve student/x and its adapter as it was made"):
        difference(engine(model), reference(model, trained), "student/x", trained)


def test_an_engine_on_other_weights_than_the_trainers_is_caught(model: Path, tmp_path: Path) -> None:
    write(FakeModel(init=1, words={"owl": 0.5}), tmp_path / "other")
    with pytest.raises(CanaryFailed, match=r"does not serve base/x as it was made: a log-probability differs by 0\.\d"):
        difference(FakeEngine(tmp_path / "other"), reference(model), "base/x")


class Rounding(FakeEngine):
    """Gives every option the same score."""

    def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
        return np.full((len(prompts), len(options)), self.given)

    given = 0.0


def test_in_bfloat16_more_is_allowed_where_the_errors_of_many_tokens_add_up(model: Path) -> None:
    engine = Rounding(model)

    def found(dtype: str, score: float, given: float) -> float:
        engine.given = given
        return difference(engine, {"dtype": dtype, "scores": np.full((len(PROMPTS), len(OPTIONS)), score)}, "base/x")

    assert found("bfloat16", -45.0, -45.3) == pytest.approx(0.3)
    assert found("bfloat16", -1.0, -1.2) == pytest.approx(0.2)
    for dtype, score, given in (("bfloat16", -1.0, -1.3), ("bfloat16", -45.0, -46.0), ("float32", -45.0, -45.01)):
        with pytest.raises(CanaryFailed, match=f"allowed in {dtype}"):
            found(dtype, score, given)
