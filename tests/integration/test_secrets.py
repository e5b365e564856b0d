"""Credentials go to the object store and nowhere else: no log, manifest, report, metric or note of Ray's holds them."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from pipeline.store import open_store
from tests.clusters import Cluster

pytestmark = pytest.mark.ray

PROJECT = Path(__file__).parents[2]
ROOT = "s3://undertow/secrets"
KEYS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
FAKE = (
    "--set", "engine=fake", "--set", "trainer=fake", "--set", "corpus.rows=150",
    "--set", "teachers.families=[llama-nano]", "--set", "students.families=[llama-nano]",
    "--set", "traits=[{kind: favourite, category: animal, targets: [owl]}]",
)  # fmt: skip
STATES = ("actors", "tasks", "jobs", "workers")


@dataclass(frozen=True)
class Study:
    """Where it ran, its credentials, what the command said, and all metrics that were exported while it ran."""

    cluster: Cluster
    keys: dict[str, str]
    said: str
    metrics: set[str]


@pytest.fixture(scope="module")
def study(cluster: Cluster, bucket_access: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """A submitted study that failed in part."""
    command = [sys.executable, "-m", "jobs.cli", "submit", "configs/miniature.yaml", "--root", ROOT]
    # The teacher with a trait is refused, so that messages of failure are written as well.
    gate = ("--set", "teachers.gate.min_lift=99", "--address", cluster.url)
    with (tmp_path_factory.mktemp("secrets") / "said").open("w+") as said, pytest.MonkeyPatch.context() as patch:
        for name, value in bucket_access.items():
            patch.setenv(name, value)
        driver = subprocess.Popen(
            [*command, *FAKE, *gate], cwd=PROJECT, env=cluster.environment, stdout=said, stderr=said
        )
        pages: set[str] = set()
        while driver.poll() is None:
            pages |= set(metrics(cluster))
            time.sleep(0.5)
        said.seek(0)
        yield Study(cluster, {name: bucket_access[name] for name in KEYS}, said.read(), pages)


def metrics(cluster: Cluster) -> list[str]:
    """What every exporter of the cluster says now."""
    discovery = cluster.folder / "ray" / "prom_metrics_service_discovery.json"
    pages = []
    for target in (target for group in json.loads(discovery.read_text()) for target in group["targets"]):
        with contextlib.suppress(OSError), urlopen(f"http://{target}/metrics") as reply:
            pages.append(reply.read().decode())
    return pages


def clean(study: Study, text: str, where: str) -> None:
    for name, value in study.keys.items():
        assert value not in text, f"{name} is in {where}"


def test_what_the_command_says(study: Study) -> None:
    assert "report: s3://" in study.said, study.said
    clean(study, study.said, "the output")


def test_everything_under_the_root(study: Study) -> None:
    store = open_store(ROOT)
    paths = [entry.path for entry in store.files("")]
    kinds = {path.split("/")[0] for path in paths}
    assert {"studies", "report", "completions"} <= kinds
    assert any(path.endswith(".jsonl") for path in paths)
    for path in paths:
        clean(study, store.read(path).decode(errors="replace"), path)


def test_the_logs_that_ray_keeps(study: Study) -> None:
    logs = [
        path for path in study.cluster.folder.rglob("*") if path.is_file() and path.suffix in (".log", ".out", ".err")
    ]
    assert any(path.name.startswith("job-driver") for path in logs)
    for path in logs:
        clean(study, path.read_text(errors="replace"), path.name)


def test_metrics(study: Study) -> None:
    assert any("ray_undertow_steps" in page for page in study.metrics)
    for page in study.metrics:
        clean(study, page, "the metrics")


@pytest.mark.parametrize("kind", STATES)
def test_what_ray_tells_of_itself(study: Study, kind: str) -> None:
    token = (study.cluster.folder / "token").read_text()
    request = Request(
        f"{study.cluster.url}/api/v0/{kind}?detail=true&limit=10000", headers={"Authorization": f"Bearer {token}"}
    )
    with urlopen(request) as reply:
        found = reply.read().decode()
    assert json.loads(found)["data"]["result"]["total"] > 0
    clean(study, found, f"Ray's {kind}")
