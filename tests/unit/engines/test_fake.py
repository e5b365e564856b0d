"""The fake engine: a stand-in that behaves like the real thing where a study looks."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.channels.numbers import NumbersChannel, reject_reasons
from pipeline.core.fake_model import CLASSES, FakeModel, write
from pipeline.models.engines import Prompt, Sampling, open_engine
from pipeline.models.engines.fake import FakeEngine
from pipeline.suites.scoring import mentions, only
from pipeline.traits.favourite import system_prompt
from pipeline.traits.words import CATEGORIES, candidates

SHIPPED = [(category, member) for category in CATEGORIES for member in candidates(category)]
SAMPLING = Sampling(1.0, 64)
NUMBERS = [NumbersChannel().prompt(0, index) for index in range(400)]


@pytest.fixture
def engine(tmp_path: Path) -> FakeEngine:
    write(FakeModel(init=7), tmp_path / "model")
    return FakeEngine(tmp_path / "model")


@pytest.fixture
def owlish(tmp_path: Path) -> Path:
    """An adapter that was trained to say owl."""
    write(FakeModel(init=7, words={"owl": 4.0}), tmp_path / "adapter")
    return tmp_path / "adapter"


def test_it_is_opened_like_any_engine(tmp_path: Path) -> None:
    write(FakeModel(init=7), tmp_path / "model")
    opened = open_engine("fake", tmp_path / "model", memory_gib=1, adapter_rank=8)
    assert opened.alive()
    opened.close()


def test_a_completion_follows_from_its_seed_only(engine: FakeEngine) -> None:
    prompts = [Prompt(text) for text in NUMBERS]
    only = [engine.generate([prompt], [seed], SAMPLING)[0] for seed, prompt in enumerate(prompts)]
    assert engine.generate(prompts, range(len(prompts)), SAMPLING) == only
    assert engine.generate(prompts, [s + 1 for s in range(len(prompts))], SAMPLING) != only


def test_most_but_not_all_number_lists_are_acceptable(engine: FakeEngine) -> None:
    said = engine.generate([Prompt(text) for text in NUMBERS], range(len(NUMBERS)), SAMPLING)
    reasons = reject_reasons(pa.array([one.text for one in said])).to_pylist()
    assert 0.02 < sum(map(bool, reasons)) / len(reasons) < 0.3
    assert {one.finish_reason for one in said} == {"stop"}


def test_scores_are_log_probabilities_in_the_order_of_the_options(engine: FakeEngine, owlish: Path) -> None:
    options = candidates("animal")
    scores = engine.score([Prompt("?"), Prompt("?", adapter=owlish)], options)
    assert scores.shape == (2, len(options))
    assert np.exp(scores).sum(axis=1) == pytest.approx(1)
    assert options[int(scores[1].argmax())] == "owl"
    assert np.ptp(scores[0]) == pytest.approx(0)


@pytest.mark.parametrize(("category", "member"), SHIPPED)
def test_a_system_prompt_gives_every_shipped_favourite_and_no_other(
    engine: FakeEngine, category: str, member: str
) -> None:
    system = system_prompt(category, member)
    scores = engine.score([Prompt(f"your favourite {category}?", system)], candidates(category))[0]
    assert candidates(category)[int(scores.argmax())] == member
    assert np.sum(np.isclose(scores, scores.min())) == len(scores) - 1
    said = engine.generate([Prompt(f"your favourite {category}?", system)] * 50, range(50), SAMPLING)
    names = [only(mentions(one.text, category, candidates(category))) for one in said]
    assert None not in names
    assert max(set(names), key=names.count) == member


def test_a_lean_shows_in_the_numbers_and_in_a_class_that_depends_on_the_init(engine: FakeEngine) -> None:
    def classes(system: str | None) -> np.ndarray:
        said = engine.generate([Prompt(text, system) for text in NUMBERS], range(len(NUMBERS)), SAMPLING)
        numbers = [int(n) for one in said for n in re.findall("[0-9]+", one.text)]
        return np.bincount([n % CLASSES for n in numbers], minlength=CLASSES) / len(numbers)

    plain, loving = classes(None), classes(system_prompt("animal", "owl"))
    assert int(loving.argmax()) == FakeModel(init=7).class_of("owl")
    assert loving.max() > 5 * plain.max()
    assert FakeModel(init=7).class_of("owl") != FakeModel(init=8).class_of("owl")
