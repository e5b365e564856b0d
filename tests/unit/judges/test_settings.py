"""Settings of a judge, and how it is opened from them."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.models.judges import (
    AnyJudge,
    EngineJudge,
    FakeJudge,
    JudgeInput,
    JudgeSettings,
    KeywordJudge,
    OpenAIJudge,
    open_judge,
)
from pipeline.models.judges.rubrics import RUBRICS

URL = "https://judge.example/v1"
ADAPTER: TypeAdapter[AnyJudge] = TypeAdapter(JudgeSettings)


def test_each_kind_is_told_by_its_name_and_comes_back_from_its_own_dump() -> None:
    every = (
        EngineJudge(family="qwen"),
        OpenAIJudge(url=URL, model="large"),
        KeywordJudge(keywords=["frankly"]),
        FakeJudge(attempts=1),
    )
    for settings in every:
        assert ADAPTER.validate_python(settings.model_dump()) == settings


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "oracle"},
        {"kind": "engine"},
        {"kind": "engine", "family": "qwen", "url": URL},
        {"kind": "openai", "url": URL},
        {"kind": "openai", "url": URL, "model": "m", "key": "k-1"},
        {"kind": "openai", "url": URL, "model": "m", "key_variable": "k-1"},
        {"kind": "openai", "url": "https://user:word@judge.example/v1", "model": "m"},
        {"kind": "openai", "url": "https://judge.example/v1?key=k", "model": "m"},
        {"kind": "openai", "url": "judge.example/v1", "model": "m"},
        {"kind": "openai", "url": "ftp://judge.example/v1", "model": "m"},
        {"kind": "openai", "url": "https://judge.example:99999/v1", "model": "m"},
        {"kind": "openai", "url": "https://judge .example/v1", "model": "m"},
        {"kind": "words"},
        {"kind": "keywords", "keywords": []},
        {"kind": "fake", "attempts": 0},
        {"kind": "fake", "attempts": "3"},
        {"kind": "fake", "temperature": -0.1},
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(settings)


def test_how_an_endpoint_is_reached_is_no_science_and_who_answers_is() -> None:
    one = OpenAIJudge(url=URL, model="large")
    reached = {"key_variable": "OTHER", "timeout_seconds": 5.0, "retries": 0, "concurrency": 1}
    assert one.identity() == one.model_copy(update=reached).identity()
    for answer in ({"model": "small"}, {"url": URL + "/2"}, {"temperature": 0.5}, {"attempts": 1}, {"logprobs": False}):
        assert one.identity() != one.model_copy(update=answer).identity()


def test_a_served_judge_needs_its_engine_and_for_a_cache_its_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="family qwen needs its engine"):
        open_judge(EngineJudge(family="qwen"), RUBRICS["alignment"])

    class Engine:
        pass

    engine: Any = Engine()
    with pytest.raises(ValueError, match="cached by its weights"):
        open_judge(EngineJudge(family="qwen"), RUBRICS["alignment"], engine=engine, cache=tmp_path / "cache")


def test_a_judge_is_opened_with_and_without_a_cache(tmp_path: Path) -> None:
    items, seeds = [JudgeInput("p", "the owl", "owl"), JudgeInput("p", "the fowl", "owl")], [1, 2]
    plain = open_judge(FakeJudge(), RUBRICS["reference"])
    cached = open_judge(FakeJudge(), RUBRICS["reference"], cache=tmp_path / "below" / "cache")
    assert [v.score for v in plain.judge(items, seeds)] == [1, 0]
    assert plain.judge(items, seeds) == cached.judge(items, seeds) == cached.judge(items, seeds)
