"""verify notices whatever was changed under a root; gc finds what nothing names, and spares what is young."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline import artifact, upkeep
from pipeline.plan import plan
from pipeline.step import Step
from pipeline.store import Store, open_store
from pipeline.study import Study
from pipeline.trainers.checkpoints import Checkpoints

Make = Callable[[Study, Store, Step], artifact.Manifest]


@pytest.fixture
def root(store: Store, study: Callable[..., Study], make: Make) -> Store:
    """The first three artifacts of a study: a base and what its teachers are."""
    rehearsed = study()
    for step in plan(rehearsed):
        if step.kind in ("base", "teacher"):
            make(rehearsed, store, step)
    return store


def problems(store: Store) -> list[str]:
    return [problem for found in upkeep.verify(store) for problem in found.problems]


def garbage(store: Store, age: timedelta = timedelta(0)) -> set[str]:
    return {entry.path for entry in upkeep.garbage(store, datetime.now(UTC) + timedelta(seconds=1) - age)}


def some(store: Store, pattern: str) -> str:
    return min(entry.path for entry in store.files("") if Path(entry.path).match(pattern))


def test_a_root_that_nobody_touched_has_no_problems(root: Store) -> None:
    found = list(upkeep.verify(root))
    assert problems(root) == []
    assert len(found) == 8
    assert all(one.finished for one in found)
    assert sum(one.files for one in found if one.path.startswith("base/")) == 2


@pytest.mark.parametrize("pattern", ["base/*/manifest.json", "base/*/units/*.json", "base/*/model/*"])
def test_one_flipped_bit_is_told_with_the_files_name(root: Store, pattern: str) -> None:
    path = some(root, pattern)
    content = bytearray(root.read(path))
    content[len(content) // 2] ^= 1
    root.replace(path, bytes(content))
    said = problems(root)
    assert any(f"{path} is damaged" in line for line in said)


def test_a_missing_file_and_a_missing_input_are_told(root: Store) -> None:
    lost = some(root, "base/*/model/*")
    root.remove(lost)
    assert problems(root) == [f"{lost} is missing"]
    root.remove(f"{lost.split('/model/')[0]}/manifest.json")
    assert any("its input base" in line and line.endswith("is missing") for line in problems(root))


def test_an_input_that_was_made_anew_is_told(root: Store) -> None:
    path = some(root, "base/*/manifest.json")
    fields = artifact.unsealed(root.read(path), path)
    root.replace(path, artifact.sealed(fields | {"results": {"other": 1}}))
    assert any("is not the one that it was made from" in line for line in problems(root))


def test_the_checkpoints_of_an_unfinished_step_are_checked_too(root: Store, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"12345")
    Checkpoints(root, "student/x/checkpoints", 1).save(1, "abc", tmp_path, 0, 1)
    assert problems(root) == []
    root.replace("student/x/checkpoints/step-000000001-abc/state/weights", b"12346")
    assert problems(root) == [
        "student/x/checkpoints/step-000000001-abc/state/weights is damaged: its SHA-256 is not the recorded one"
    ]


def test_what_a_manifest_names_is_no_garbage(root: Store) -> None:
    named = {
        f"{manifest.path}/{file.place}"
        for found in upkeep.verify(root)
        for manifest in [artifact.require(root, found.path)]
        for file in manifest.files
    }
    left = garbage(root)
    assert not left & named
    assert not any(path.endswith("manifest.json") for path in left)
    assert all("/units/" in path for path in left)


def test_orphans_and_unfinished_steps_are_garbage_once_they_are_old(root: Store) -> None:
    finished = some(root, "base/*/manifest.json").removesuffix("/manifest.json")
    orphans = {f"{finished}/attempt-2/model/config.json", "student/never-finished/units/train.json"}
    for path in orphans:
        root.create(path, b"{}")
    assert orphans <= garbage(root)
    assert not orphans & garbage(root, timedelta(hours=1))


def test_removing_all_garbage_leaves_every_artifact_whole(root: Store) -> None:
    for path in garbage(root):
        root.remove(path)
    assert garbage(root) == set()
    assert problems(root) == []
    moved = open_store(root.root)
    assert all(artifact.load(moved, found.path) for found in upkeep.verify(moved))
