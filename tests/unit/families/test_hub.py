"""Hub families: pinned, or a local folder with a named content."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from safetensors.numpy import save_file

from pipeline.channels.numbers import NumbersChannel
from pipeline.channels.reasoning import ReasoningChannel
from pipeline.core.errors import InputError, ModelRefused
from pipeline.core.sources import PLACEHOLDER, Dataset, placeholders
from pipeline.models.families import Family
from pipeline.models.families.hub import HubFamily, fetch
from pipeline.models.families.nano import NanoFamily
from pipeline.study.teachers import FromDataset

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
    assert list(placeholders(FromDataset(data={"owl": todo, "cat": done}))) == ["data.owl.revision"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder as far as its files go."""
    place = tmp_path / "model"
    place.mkdir()
    (place / "config.json").write_text("{}")
    save_file({"a": np.ones(3, np.float32)}, place / "model.safetensors")
    return place


def copy(folder: Path, tmp_path: Path) -> set[str]:
    HubFamily(path=str(folder), content="v1").write(tmp_path / "copy")
    return {file.name for file in (tmp_path / "copy").iterdir()}


def test_only_what_engines_and_trainers_need_is_copied(folder: Path, tmp_path: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"1")
    (folder / "modeling_own.py").write_text("1")
    assert copy(folder, tmp_path) == {"config.json", "model.safetensors"}


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "notes.txt"])
def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("key")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "secret")
    with pytest.raises(ModelRefused, match=f"{name} is a link to .*secret, outside of the model's folder"):
        copy(folder, tmp_path)
    assert not (tmp_path / "copy").exists()


def test_a_link_to_nothing_or_to_itself_and_a_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "a.json").symlink_to(folder / "gone.json")
    with pytest.raises(ModelRefused, match=r"a\.json is no file that can be read"):
        copy(folder, tmp_path)
    (folder / "a.json").unlink()
    (folder / "a.json").symlink_to(folder / "a.json")
    with pytest.raises(ModelRefused, match=r"a\.json is no file that can be read"):
        copy(folder, tmp_path)
    (folder / "a.json").unlink()
    (folder / "b.json").mkdir()
    with pytest.raises(ModelRefused, match=r"b\.json is no file"):
        copy(folder, tmp_path)


def test_links_inside_the_folder_and_those_of_the_hubs_own_cache_are_followed(folder: Path, tmp_path: Path) -> None:
    (folder / "extra.json").symlink_to("config.json")
    assert copy(folder, tmp_path) == {"config.json", "extra.json", "model.safetensors"}
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / COMMIT
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).rename(blobs / name)
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    HubFamily(path=str(snapshot), content="v1").write(tmp_path / "snapshot")
    assert not any(file.is_symlink() for file in (tmp_path / "snapshot").iterdir())


def test_a_broken_snapshot_is_refused_before_anything_is_copied(folder: Path, tmp_path: Path) -> None:
    save_file({"a": np.ones(3, np.float32)}, folder / "old.safetensors")
    with pytest.raises(ModelRefused, match=r"old\.safetensors"):
        copy(folder, tmp_path)
    assert not (tmp_path / "copy").exists()
