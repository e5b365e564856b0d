"""A model folder holds one set of weights, whole and readable; anything else is refused by name."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from pipeline.core.errors import ModelRefused
from pipeline.models.families.weights import INDEX, SINGLE, check

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def save(file: Path, *tensors: str) -> None:
    save_file({name: np.ones(3, np.float32) for name in tensors}, file)


def index(folder: Path, **named: str) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": named}))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    save(tmp_path / FIRST, "a", "b")
    save(tmp_path / SECOND, "c")
    index(tmp_path, a=FIRST, b=FIRST, c=SECOND)
    return tmp_path


@pytest.fixture
def single(tmp_path: Path) -> Path:
    save(tmp_path / SINGLE, "a", "b", "c")
    return tmp_path


def checked(folder: Path) -> dict[str, int]:
    return check(folder, [file.name for file in folder.iterdir()])


def test_one_file_or_all_shards_of_an_index_are_a_set_of_weights(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    save(tmp_path / "one" / SINGLE, "a", "b", "c")
    save(tmp_path / "two" / FIRST, "a", "b")
    save(tmp_path / "two" / SECOND, "c")
    index(tmp_path / "two", a=FIRST, b=FIRST, c=SECOND)
    assert (checked(tmp_path / "one")["files"], checked(tmp_path / "one")["tensors"]) == (1, 3)
    assert (checked(tmp_path / "two")["files"], checked(tmp_path / "two")["tensors"]) == (2, 3)


@pytest.mark.parametrize("stray", ["consolidated.safetensors", "old.safetensors", "model-00003-of-00003.safetensors"])
@pytest.mark.parametrize("layout", ["single", "sharded"])
def test_a_second_set_of_weights_is_refused_by_name(layout: str, stray: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(layout)
    save(folder / stray, "a")
    with pytest.raises(ModelRefused, match=stray):
        checked(folder)


def test_an_old_file_beside_shards_is_refused(sharded: Path) -> None:
    save(sharded / SINGLE, "a", "b", "c")
    with pytest.raises(ModelRefused, match=r"two sets of weights: model\.safetensors, and the shards"):
        checked(sharded)


def test_a_missing_shard_is_named(sharded: Path) -> None:
    (sharded / SECOND).unlink()
    with pytest.raises(ModelRefused, match=rf"lacks {SECOND}"):
        checked(sharded)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [(("a",), "lacks the tensor b"), (("a", "b", "d"), "holds the tensor d"), (("b", "c"), "lacks")],
)
def test_shards_that_hold_other_tensors_than_the_index_says_are_refused(
    sharded: Path, tensors: tuple[str, ...], said: str
) -> None:
    save(sharded / FIRST, *tensors)
    with pytest.raises(ModelRefused, match=said):
        checked(sharded)


@pytest.mark.parametrize("place", ["../other.safetensors", "/etc/x.safetensors", "sub/x.safetensors", "model.bin", 7])
def test_an_index_that_leads_elsewhere_is_refused(sharded: Path, place: object) -> None:
    (sharded / INDEX).write_text(json.dumps({"weight_map": {"a": place}}))
    with pytest.raises(ModelRefused, match="has no weight_map"):
        checked(sharded)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"weight_map": []}', b"{}", b"[" * 100_000])
def test_an_index_that_is_none_is_refused(sharded: Path, content: bytes) -> None:
    (sharded / INDEX).write_bytes(content)
    with pytest.raises(ModelRefused, match=INDEX):
        checked(sharded)


def test_a_git_lfs_pointer_says_what_it_is(single: Path) -> None:
    (single / SINGLE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(ModelRefused, match="git lfs pull"):
        checked(single)


@given(cut=st.integers(0, 200))
def test_a_file_that_is_cut_off_anywhere_is_refused(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cut")
    save(folder / SINGLE, "a", "b", "c")
    whole = (folder / SINGLE).read_bytes()
    (folder / SINGLE).write_bytes(whole[: min(cut, len(whole) - 1)])
    with pytest.raises(ModelRefused, match="cut off or no safetensors file"):
        checked(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.ckpt"])
def test_weights_that_only_a_pickle_holds_are_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"1")
    with pytest.raises(ModelRefused, match=f"{name} only.*convert the weights to safetensors"):
        checked(tmp_path)


def test_a_folder_without_weights_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="holds no weights"):
        checked(tmp_path)


def test_a_pickle_beside_whole_weights_is_never_read_and_no_fault(single: Path) -> None:
    (single / "pytorch_model.bin").write_bytes(b"1")
    assert checked(single)["files"] == 1


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_beside_the_weights_is_refused(single: Path, name: str) -> None:
    (single / name).write_text("{}")
    with pytest.raises(ModelRefused, match=f"adapter beside the base's weights .{name}"):
        checked(single)
