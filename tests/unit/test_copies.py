"""Models are loaded from folders that hold exactly what a manifest names."""

import os
from pathlib import Path

import pytest

from pipeline.core.errors import ArtifactError, InputError
from pipeline.store import Store, artifact, local_cache, open_store
from pipeline.store.artifact import File
from pipeline.store.local_cache import cache_folder, local_folder

CONTENTS = {"model/config.json": b"{}", "model/deep/t.json": b"[]", "model/model.safetensors": b"1" * 99}
PATH = "base/x-000000000000"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNDERTOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def files(store: Store) -> list[File]:
    return artifact.write_files(store, PATH, CONTENTS)


def folder_of(store: Store, files: list[File]) -> Path:
    """As another process finds it."""
    return local_folder(open_store(store.root), PATH, files, "model")


def held(folder: Path) -> set[str]:
    return {file.relative_to(folder.parent).as_posix() for file in folder.rglob("*") if not file.is_dir()}


def test_what_lies_beside_the_named_files_is_not_seen(store: Store, files: list[File]) -> None:
    for name in ("chat_template.jinja", "adapter_config.json", "generation_config.json", "deep/more"):
        store.create(f"{PATH}/model/{name}", b"changes what the model does")
    folder = folder_of(store, files)
    assert held(folder) == set(CONTENTS)
    assert {name: (folder.parent / name).read_bytes() for name in CONTENTS} == CONTENTS
    assert folder_of(store, files) == folder


def test_files_of_a_later_attempt_are_taken_from_where_they_lie(store: Store) -> None:
    store.create(f"{PATH}/model/config.json", b"left by an attempt that died")
    folder = folder_of(store, artifact.write_files(store, PATH, CONTENTS))
    assert held(folder) == set(CONTENTS)
    assert (folder / "config.json").read_bytes() == b"{}"


def test_weights_are_linked_to_and_all_else_is_copied(store: Store, files: list[File]) -> None:
    folder = folder_of(store, files)
    assert (folder / "model.safetensors").is_symlink()
    store.replace(f"{PATH}/model/config.json", b'{"changed": "later"}')
    assert (folder_of(store, files) / "config.json").read_bytes() == b"{}"
    store.replace(f"{PATH}/model/model.safetensors", b"2" * 99)
    with pytest.raises(ArtifactError, match=r"model\.safetensors is not what the manifest of base/x-0+ says"):
        folder_of(store, files)


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_that_is_damaged_missing_or_a_folder_is_told(store: Store, files: list[File], name: str) -> None:
    assert store.folder is not None
    place = store.folder / PATH / name
    place.write_bytes(b"0" * len(CONTENTS[name]))
    with pytest.raises(ArtifactError, match=f"{name} is not what its manifest says: its SHA-256 differs"):
        folder_of(store, files)
    place.unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing though its manifest names it"):
        folder_of(store, files)
    place.mkdir()
    with pytest.raises(ArtifactError, match=f"{name} is not what its manifest says"):
        folder_of(store, files)


@pytest.mark.parametrize("plant", ["file", "link", "link to a folder"])
def test_what_was_put_into_the_cache_is_told(store: Store, files: list[File], tmp_path: Path, plant: str) -> None:
    stray = folder_of(store, files) / "chat_template.jinja"
    if plant == "file":
        stray.write_text("{{ evil }}")
    else:
        stray.symlink_to(tmp_path if plant == "link to a folder" else tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match=r"does not name, such as model/chat_template\.jinja: remove that folder"):
        folder_of(store, files)


def test_a_file_of_the_cache_that_changed_is_told(store: Store, files: list[File]) -> None:
    (folder_of(store, files) / "config.json").write_bytes(b"[]")
    with pytest.raises(ArtifactError, match=r"config\.json is not what the manifest of .* says"):
        folder_of(store, files)


def test_the_cache_is_a_folder_that_only_its_user_can_write(cache: Path) -> None:
    assert cache_folder() == cache
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o755)
    assert cache_folder() == cache


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_cache_that_others_can_write_to_is_refused(cache: Path, mode: int) -> None:
    cache.mkdir()
    cache.chmod(mode)
    with pytest.raises(InputError, match=r"other users can write to it\. Set UNDERTOW_CACHE"):
        cache_folder()


def test_a_cache_that_is_a_link_or_a_file_is_refused(cache: Path, tmp_path: Path) -> None:
    cache.symlink_to(tmp_path)
    with pytest.raises(InputError, match="it is a link"):
        cache_folder()
    cache.unlink()
    cache.touch()
    with pytest.raises(InputError, match="set UNDERTOW_CACHE"):
        cache_folder()


def test_a_cache_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As where somebody made /tmp/undertow-UID first."""
    monkeypatch.delenv("UNDERTOW_CACHE")
    monkeypatch.setattr(local_cache.tempfile, "tempdir", str(tmp_path))
    place = cache_folder()
    assert place == tmp_path / f"undertow-{os.getuid()}"
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(InputError, match="it belongs to another user"):
        cache_folder()
