"""Checkpoints: whole ones of the right number of ranks count, the newest first, and damage is told."""

from pathlib import Path

import pytest

from pipeline.errors import ArtifactError
from pipeline.store import Store
from pipeline.trainers.checkpoints import Checkpoints


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "optimizer").write_bytes(b"moments")
    return folder


@pytest.fixture
def checkpoints(store: Store) -> Checkpoints:
    return Checkpoints(store, "student/x/checkpoints", every=10)


def test_one_is_due_every_so_many_steps_but_not_at_the_end(checkpoints: Checkpoints) -> None:
    assert [step for step in range(1, 41) if checkpoints.due(step, 40)] == [10, 20, 30]


def test_the_newest_whole_one_counts(checkpoints: Checkpoints, saved: Path) -> None:
    assert checkpoints.latest(1) is None
    checkpoints.save(10, "aa", saved, 0, 1)
    checkpoints.save(20, "bb", saved, 0, 1)
    name = checkpoints.latest(1)
    assert name == "step-000000020-bb"
    assert (checkpoints.fetch(name, 1) / "state" / "optimizer").read_bytes() == b"moments"


def test_one_that_misses_a_rank_is_never_used(checkpoints: Checkpoints, saved: Path) -> None:
    checkpoints.save(10, "aa", saved, 0, 2)
    checkpoints.save(10, "aa", saved, 1, 2)
    checkpoints.save(20, "bb", saved, 0, 2)
    assert checkpoints.latest(2) == "step-000000010-aa"


def test_two_attempts_at_one_step_do_not_mix(checkpoints: Checkpoints, saved: Path) -> None:
    checkpoints.save(10, "aa", saved, 0, 2)
    checkpoints.save(10, "bb", saved, 1, 2)
    assert checkpoints.latest(2) is None


def test_one_of_another_number_of_ranks_is_not_used(checkpoints: Checkpoints, saved: Path) -> None:
    checkpoints.save(10, "aa", saved, 0, 1)
    assert checkpoints.latest(2) is None


@pytest.mark.parametrize("name", ["state/state/optimizer", "rank-00000.json"])
def test_a_damaged_one_is_an_error_naming_the_file(
    checkpoints: Checkpoints, saved: Path, store: Store, name: str
) -> None:
    checkpoints.save(10, "aa", saved, 0, 1)
    path = f"student/x/checkpoints/step-000000010-aa/{name}"
    content = bytearray(store.read(path))
    content[3] ^= 4
    store.replace(path, bytes(content))
    with pytest.raises(ArtifactError, match=name.split("/")[-1]):
        checkpoints.fetch("step-000000010-aa", 1)
