"""verify notices whatever was changed under a root."""

from pathlib import Path

import pytest

from pipeline import artifact
from pipeline.store import Store
from pipeline.trainers.checkpoints import Checkpoints
from pipeline.verify import verify


def problems(store: Store) -> list[str]:
    return [problem for found in verify(store) for problem in found.problems]


def some(store: Store, pattern: str) -> str:
    return min(entry.path for entry in store.files("") if Path(entry.path).match(pattern))


def test_a_root_that_nobody_touched_has_no_problems(root: Store) -> None:
    found = list(verify(root))
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
