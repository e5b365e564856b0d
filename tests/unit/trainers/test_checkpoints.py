"""Checkpoints: the newest that is whole, undamaged and of this run counts; others are passed over, old ones removed."""

import contextlib
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import ArtifactError, StoreError
from pipeline.models.trainers.checkpoints import Checkpoints, Progress, parse_progress
from pipeline.store import Store, artifact

FOLDER = "student/x-0123456789ab/checkpoints"
ENTRY = {"epoch": 0.5, "loss": 1.25, "learning_rate": 1e-3, "tokens": 7, "seconds": 0.1}


def progress(step: int) -> dict[str, object]:
    log = [{"step": number} | ENTRY for number in range(1, step + 1)]
    return {"step": step, "accumulation": 1, "global_steps": step, "global_samples": 3, "skipped_steps": 0, "log": log}


@pytest.fixture
def checkpoints(store: Store) -> Checkpoints:
    store.create("undertow-root.json", b'{"undertow_root": 1, "id": "0"}')  # nothing is removed from other roots
    return Checkpoints(store, FOLDER, seconds=600)


def save(
    checkpoints: Checkpoints, tmp_path: Path, step: int, attempt: str = "aa", rank: int = 0, ranks: int = 1
) -> str:
    folder = tmp_path / f"{step}-{attempt}-{rank}"
    folder.mkdir()
    (folder / f"rank-{rank:05d}.safetensors").write_bytes(b"moments")
    (folder / f"rank-{rank:05d}.json").write_text(json.dumps(progress(step)))
    return checkpoints.save(step, attempt, folder, rank, ranks)


def files(store: Store) -> set[str]:
    return {entry.path.removeprefix(f"{FOLDER}/") for entry in store.files(FOLDER)}


def test_one_is_due_after_so_many_seconds_but_not_at_the_end(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    checkpoints = Checkpoints(store, FOLDER, seconds=600)
    now += 599
    assert not checkpoints.due(3, 40)
    now += 1
    assert checkpoints.due(4, 40)
    assert not checkpoints.due(40, 40)
    save(checkpoints, tmp_path, 4)
    assert not checkpoints.due(5, 40)
    assert Checkpoints(store, FOLDER, seconds=0).due(1, 40)


def test_the_newest_whole_one_counts(checkpoints: Checkpoints, tmp_path: Path) -> None:
    assert checkpoints.latest(1) is None
    save(checkpoints, tmp_path, 10)
    name = save(checkpoints, tmp_path, 20, "bb")
    assert checkpoints.latest(1) == name == "step-000000020-bb"
    assert checkpoints.latest(1, {name}) == "step-000000010-aa"
    assert checkpoints.tensors(name, 0, 1, tmp_path).read_bytes() == b"moments"
    assert checkpoints.progress(name, 0, 1) == Progress.model_validate(progress(20))


def test_one_that_misses_a_rank_is_never_used(checkpoints: Checkpoints, tmp_path: Path) -> None:
    save(checkpoints, tmp_path, 10, ranks=2)
    save(checkpoints, tmp_path, 10, rank=1, ranks=2)
    save(checkpoints, tmp_path, 20, ranks=2)
    assert checkpoints.latest(2) == "step-000000010-aa"


def test_two_attempts_at_one_step_do_not_mix(checkpoints: Checkpoints, tmp_path: Path) -> None:
    save(checkpoints, tmp_path, 10, "aa", 0, 2)
    save(checkpoints, tmp_path, 10, "bb", 1, 2)
    assert checkpoints.latest(2) is None


def test_one_of_another_number_of_ranks_is_not_used(checkpoints: Checkpoints, tmp_path: Path) -> None:
    save(checkpoints, tmp_path, 10, ranks=1)
    assert checkpoints.latest(2) is None


@pytest.mark.parametrize("name", ["state/rank-00000.safetensors", "state/rank-00000.json", "rank-00000.json"])
def test_a_damaged_one_is_named_and_passed_over(
    checkpoints: Checkpoints, tmp_path: Path, store: Store, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(checkpoints, tmp_path, 10)
    newest = save(checkpoints, tmp_path, 20)
    content = bytearray(store.read(f"{FOLDER}/{newest}/{name}"))
    content[3] ^= 4
    store.replace(f"{FOLDER}/{newest}/{name}", bytes(content))
    with caplog.at_level(logging.WARNING):
        found = checkpoints.latest(1)
    if name.startswith("state/"):  # found when it is read, and left out from then on
        assert found == newest
        with pytest.raises(ArtifactError, match=name):
            _ = checkpoints.tensors(newest, 0, 1, tmp_path), checkpoints.progress(newest, 0, 1)
    else:
        assert found == "step-000000010-aa"
        assert f"{newest}/{name}" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"path": f"{FOLDER}/step-000000009-aa"},
        {"path": "student/y-0123456789ab/checkpoints/step-000000010-aa"},
        {"step": 9},
        {"rank": 1},
        {"ranks": 2},
        {"rank": None},
    ],
)
def test_a_record_counts_only_in_its_own_place(
    checkpoints: Checkpoints, tmp_path: Path, store: Store, change: dict[str, object]
) -> None:
    place = f"{FOLDER}/{save(checkpoints, tmp_path, 10)}/rank-00000.json"
    record = artifact.without_checksum(store.read(place), place)
    store.replace(
        place, artifact.with_checksum({key: value for key, value in (record | change).items() if value is not None})
    )
    assert checkpoints.latest(1) is None


@pytest.mark.parametrize(
    "files",
    [
        [],
        None,
        [{"path": "state/rank-00000.safetensors"}],
        [{"path": name, "bytes": 1, "sha256": "0"} for name in ("state/rank-00000.json", "state/latest")],
        [{"path": f"state/rank-00000.{e}", "bytes": 1, "sha256": "0", "attempt": 2} for e in ("json", "safetensors")],
        [{"path": 3, "bytes": 1, "sha256": "0"}, {"path": None, "bytes": 1, "sha256": "0"}],
    ],
)
def test_a_record_that_names_other_files_is_refused(
    checkpoints: Checkpoints, tmp_path: Path, store: Store, files: object
) -> None:
    name = save(checkpoints, tmp_path, 10)
    place = f"{FOLDER}/{name}/rank-00000.json"
    store.replace(place, artifact.with_checksum(artifact.without_checksum(store.read(place), place) | {"files": files}))
    with pytest.raises(ArtifactError, match=r"step-000000010-aa/rank-00000\.json"):
        checkpoints.tensors(name, 0, 1, tmp_path)


KEYS = st.sampled_from(sorted(progress(1)))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(changed=KEYS, value=VALUES)
def test_progress_is_what_a_run_at_that_step_saves_or_an_artifact_error(changed: str, value: object) -> None:
    content = json.dumps(progress(2) | {changed: value}).encode()
    with contextlib.suppress(ArtifactError):
        found = parse_progress(content, 2, "place")
        assert found.step == 2
        assert [entry.step for entry in found.log] == [1, 2]


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"[]", b"null", b'{"step": 2}', b"[" * 100_000])
def test_malformed_progress_is_named(content: bytes) -> None:
    with pytest.raises(ArtifactError, match="the/place is malformed"):
        parse_progress(content, 2, "the/place")


def test_a_folder_of_another_name_is_no_checkpoint(checkpoints: Checkpoints, tmp_path: Path, store: Store) -> None:
    name = save(checkpoints, tmp_path, 10)
    for other in ("step-x-aa", "zzz", "step-00000000999-aa"):
        store.create(f"{FOLDER}/{other}/rank-00000.json", b"{}")
    assert checkpoints.latest(1) == name


def test_a_newer_one_supersedes_the_older_ones_of_any_writer(
    checkpoints: Checkpoints, tmp_path: Path, store: Store
) -> None:
    save(checkpoints, tmp_path, 10)
    save(Checkpoints(store, FOLDER, 600), tmp_path, 30, "cc")  # another writer is farther
    name = save(checkpoints, tmp_path, 20)
    checkpoints.keep_only(name)
    assert {path.split("/")[0] for path in files(store)} == {"step-000000020-aa", "step-000000030-cc"}


def test_all_go_once_the_result_is_recorded_and_nothing_else_does(
    checkpoints: Checkpoints, tmp_path: Path, store: Store
) -> None:
    store.create("student/x-0123456789ab/adapter/weights", b"1")
    save(checkpoints, tmp_path, 10)
    save(checkpoints, tmp_path, 20)
    store.create(f"{FOLDER}/notes/mine.txt", b"not a checkpoint")
    checkpoints.clear()
    assert files(store) == {"notes/mine.txt"}
    assert store.exists("student/x-0123456789ab/adapter/weights")


def test_a_run_that_never_saved_asks_the_store_nothing_at_its_end(
    checkpoints: Checkpoints, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(store), "folders", None)
    checkpoints.clear()


@pytest.mark.parametrize("removed", range(3))
def test_a_removal_that_breaks_off_leaves_nothing_that_looks_whole(
    checkpoints: Checkpoints, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    save(checkpoints, tmp_path, 10)
    name = save(checkpoints, tmp_path, 20)
    remove, calls = type(store).remove, iter(range(100))

    def breaking_off(self: Store, path: str, *args: object) -> object:
        if next(calls) == removed:
            raise StoreError("the store may not be written to any more")
        return remove(self, path, *args)

    monkeypatch.setattr(type(store), "remove", breaking_off)
    checkpoints.keep_only(name)
    assert checkpoints.latest(1) == name
    older = checkpoints.latest(1, {name})
    assert older is None or (removed == 0 and checkpoints.progress(older, 0, 1).step == 10)
