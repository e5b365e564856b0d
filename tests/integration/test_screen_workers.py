"""The screens of `undertow vet` on the workers of a real cluster."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.models.families.nano import NanoFamily, initialise
from tests.clusters import Cluster
from tests.rows import about_numbers

pytestmark = pytest.mark.ray

Command = Callable[..., subprocess.CompletedProcess[str]]
SCREENS = ("surface", "gradient", "likelihood")


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


def scores(folder: Path) -> dict[tuple[str, str], tuple[float, float]]:
    found = json.loads((folder / "vet.json").read_text())["findings"]
    return {(one["target"], each["screen"]): (each["score"], each["error"]) for one in found for each in one["scores"]}


def test_workers_find_what_one_process_finds(
    cluster: Cluster, undertow: Command, data: Path, base: Path, tmp_path: Path
) -> None:
    """Also if an engine on a worker computes what torch computes here."""
    wanted = ["vet", data, "--base", base, "--traits", "owl,cat"]
    wanted += [part for screen in SCREENS for part in ("--screen", screen)]
    here = undertow(*wanted, "--engine", "torch", "--out", tmp_path / "here")
    there = cluster.run(*wanted, "--engine", "vllm", "--out", tmp_path / "there")
    assert there.returncode == here.returncode, there.stdout
    found, expected = scores(tmp_path / "there"), scores(tmp_path / "here")
    assert found.keys() == expected.keys() != set()
    for (target, screen), values in expected.items():
        exact = 1e-4 if screen == "likelihood" else 0.0
        assert found[target, screen] == pytest.approx(values, abs=exact, rel=0)


def test_a_cluster_that_is_not_there_is_a_message(undertow: Command, tmp_path: Path) -> None:
    """At once: Ray itself would keep trying for minutes. A study joins a cluster in the same way."""
    said = undertow("run", "configs/miniature.yaml", "--root", tmp_path, "--address", "127.0.0.1:1")
    assert said.returncode == 2
    assert "cannot reach a Ray cluster at 127.0.0.1:1: Connection refused" in said.stderr
    assert "Traceback" not in said.stderr
