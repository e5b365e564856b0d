"""Hub families: pinned, or a local folder with a named content."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.channels.numbers import NumbersChannel
from pipeline.channels.reasoning import ReasoningChannel
from pipeline.errors import InputError
from pipeline.families import Family
from pipeline.families.hub import HubFamily, fetch
from pipeline.families.nano import NanoFamily
from pipeline.source import PLACEHOLDER, Dataset, placeholders
from pipeline.study import Given

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    "settings", [{"repo": "some/model", "revision": COMMIT}, {"path": "/models/some", "content": "v1"}]
)
def test_a_source_is_a_pinned_repository_or_a_named_folder(settings: dict[str, str]) -> None:
    assert HubFamily.model_validate(settings).kind == "hub"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "give either repo"),
        ({"repo": "a/b", "revision": COMMIT, "path": "/x", "content": "v"}, "give either repo"),
        ({"repo": "a/b"}, "40 hex digits"),
        ({"repo": "a/b", "revision": "main"}, "40 hex digits"),
        ({"repo": "a/b", "revision": COMMIT[:12]}, "40 hex digits"),
        ({"repo": "a/b", "revision": COMMIT + "\n"}, "40 hex digits"),
        ({"repo": "a/b", "revision": COMMIT.upper()}, "40 hex digits"),
        ({"path": "/x"}, "path needs content"),
        ({"path": "/x", "content": ""}, "path needs content"),
    ],
)
def test_anything_that_could_change_under_a_study_is_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        HubFamily.model_validate(settings)


def test_the_kind_decides_which_family_it_is() -> None:
    family: Any = TypeAdapter(Family)
    assert isinstance(family.validate_python({"kind": "nano", "init_seed": 1}), NanoFamily)
    assert isinstance(family.validate_python({"kind": "hub", "path": "/x", "content": "v"}), HubFamily)
    with pytest.raises(ValidationError, match="kind"):
        family.validate_python({"init_seed": 1})


def test_a_local_folder_stands_in_for_a_snapshot(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert fetch(HubFamily(path=str(tmp_path), content="v1")) == tmp_path


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no config\.json"):
        fetch(HubFamily(path=str(tmp_path), content="v1"))


def test_forty_zeros_are_a_placeholder_for_a_commit() -> None:
    assert HubFamily(repo="a/b", revision=PLACEHOLDER).is_placeholder
    assert not HubFamily(repo="a/b", revision=COMMIT).is_placeholder
    assert not HubFamily(path="/x", content="v", revision=PLACEHOLDER).is_placeholder


def test_placeholders_are_named_as_settings_wherever_they_stand() -> None:
    todo, done = Dataset(repo="a/b", revision=PLACEHOLDER), Dataset(repo="a/b", revision=COMMIT)
    channels = [NumbersChannel(), ReasoningChannel(data=todo), ReasoningChannel(data=done)]
    settings = {"channels": channels, "families": {"qwen": HubFamily(repo="a/b", revision=PLACEHOLDER)}, "rows": 5}
    assert list(placeholders(settings)) == ["channels.1.data.revision", "families.qwen.revision"]
    assert list(placeholders(Given(data={"owl": todo, "cat": done}))) == ["data.owl.revision"]
