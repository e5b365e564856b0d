"""A root that two keys have signed."""

import shutil
from pathlib import Path

import pytest

from pipeline.provenance.attestation.keys import generate
from pipeline.store import Store, open_store
from pipeline.store.step import Step
from pipeline.study.schema import Study
from tests.signed import sign
from tests.unit.conftest import copy_study

FakeRun = tuple[Study, list[Step], Store]


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("builder", "trainer"):
        generate(name, folder)
    generate("stranger", folder / "unknown")
    return folder


@pytest.fixture(scope="session")
def signed(fake_run: FakeRun, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root signed by two keys, one for each half of the data's path."""
    root = copy_study(fake_run, tmp_path_factory.mktemp("signed") / "root")
    store = open_store(root)
    sign(store, keys, "builder", "dataset", "base", "teacher", "gate", "completions", "corpus")
    sign(store, keys, "trainer", "student", "answers", "transfer")
    return root


@pytest.fixture
def signed_copy(signed: Path, tmp_path: Path) -> Path:
    """A copy, in which something can be damaged."""
    shutil.copytree(signed, tmp_path / "root")
    return tmp_path / "root"
