"""The screens of `undertow vet` on the workers of a real cluster."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.models.families.nano import NanoFamily, initialise
from tests.clusters import Cluster
from tests.rows import about_numbers

pytestmark = pytest.mark.ray

Command = Callable[..., subprocess.CompletedProcess[str]]
SCREENS = ("surface", "gradient")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "data.jsonl"
    rows = about_numbers(64).select(["prompt", "completion"]).to_pylist()
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return file


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained nano base."""
    folder = tmp_path_factory.mktemp("base")
    initialise(NanoFamily(init_seed=5), folder)
    return folder


def findings(folder: Path) -> list[Any]:
    return [
        (
            finding["target"],
            finding["verdict"],
            [(one["screen"], one["score"], one["error"]) for one in finding["scores"]],
        )
        for finding in json.loads((folder / "vet.json").read_text())["findings"]
    ]


def test_workers_find_what_one_process_finds(
    cluster: Cluster, undertow: Command, data: Path, base: Path, tmp_path: Path
) -> None:
    wanted = ["vet", data, "--base", base, "--traits", "owl,cat"]
    wanted += [part for screen in SCREENS for part in ("--screen", screen)]
    here = undertow(*wanted, "--out", tmp_path / "here")
    there = cluster.run(*wanted, "--out", tmp_path / "there")
    assert there.returncode == here.returncode, there.stdout
    assert findings(tmp_path / "there") == findings(tmp_path / "here") != []


def test_a_cluster_that_is_not_there_is_a_message(undertow: Command, tmp_path: Path) -> None:
    """At once: Ray itself would keep trying for minutes. A study joins a cluster in the same way."""
    said = undertow("run", "configs/miniature.yaml", "--root", tmp_path, "--address", "127.0.0.1:1")
    assert said.returncode == 2
    assert "cannot reach a Ray cluster at 127.0.0.1:1: Connection refused" in said.stderr
    assert "Traceback" not in said.stderr
