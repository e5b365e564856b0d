"""What ops see: a real Prometheus beside a running study answers every query of the dashboard and the alerts."""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from tests.chaos.kills import WIDE
from tests.chaos.servers import free_port, serving
from tests.clusters import Cluster

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "infra" / "prometheus"
DASHBOARD = json.loads((ROOT / "infra" / "grafana" / "undertow.json").read_text())
ALERTS = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
LIMIT_SECONDS = 120  # of waiting for the last stage, on a machine that may be busy
# The first teachers' corpora and students come soon, and engines are at work for a while after that.
STUDY = WIDE | {
    "traits": [{"category": "thing", "targets": [f"thing-{i}" for i in range(6)]}],
    "completions": {"rows": 4_000, "shard_rows": 20},
    "teachers": {"gate": {"min_lift": -9.0}},  # a fake teacher has only traits that it knows
    "resources": {"engines": {"cpus": 0.5}, "training": {"cpus": 0.5}},
}


class Server:
    """A Prometheus that scrapes the Ray of one temporary folder."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._started = time.time()

    def ask(self, path: str, **query: str) -> Any:
        with urlopen(f"{self._url}/api/v1/{path}?{urlencode(query)}") as reply:
            return json.load(reply)["data"]

    def value(self, expression: str) -> list[Any]:
        found: list[Any] = self.ask("query", query=expression.replace("$study", ".*"))["result"]
        return found

    def values(self, expression: str) -> list[Any]:
        """Every value since the study started: a trainer may be down at this moment, and its loss with it."""
        span = {"start": str(self._started), "end": str(time.time()), "step": "1s"}
        found: list[Any] = self.ask("query_range", query=expression.replace("$study", ".*"), **span)["result"]
        return found


@pytest.fixture(scope="module")
def prometheus(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Beside a fake study that runs for as long as it is looked at."""
    folder = tmp_path_factory.mktemp("prometheus")
    study = folder / "study.yaml"
    study.write_text(yaml.safe_dump(STUDY))
    with _server(folder, cluster.folder) as server:
        driver = cluster.start("run", study, "--root", folder / "root", log=folder / "study.log")
        try:
            yield server
        finally:
            driver.terminate()
            driver.wait(60)


@contextlib.contextmanager
def _server(folder: Path, ray: Path) -> Iterator[Server]:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    # The page of a cluster that has run many studies takes a second or two to write, and a gauge is on it for no more
    # than two seconds after its worker has gone.
    config["global"] = {"scrape_interval": "3s", "scrape_timeout": "3s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    (targets,) = config["scrape_configs"][0]["file_sd_configs"]
    targets["files"] = [name.replace("/tmp/ray/", f"{ray}/ray/") for name in targets["files"]]
    targets["refresh_interval"] = "1s"
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", "--config.file", str(folder / "prometheus.yml"), "--web.listen-address", address]
    command += ["--storage.tsdb.path", str(folder / "tsdb")]
    with serving(command, {}, f"http://{address}/-/ready", folder / "prometheus.log"):
        yield Server(f"http://{address}")


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_of_the_dashboard_finds_data(prometheus: Server, name: str) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (found := prometheus.values(QUERIES[name])) and time.monotonic() < deadline:
        time.sleep(1)
    assert found, QUERIES[name]
    assert all(label not in series["metric"] for series in found for label in ("step", "unit", "trait", "target"))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_asks_for_what_there_is_and_is_quiet_while_all_goes_well(
    prometheus: Server, alert: dict[str, Any]
) -> None:
    """That it fires when it should is in alerts.test.yml."""
    there = set(prometheus.ask("label/__name__/values"))
    assert set(re.findall(r"ray_undertow_\w+", alert["expr"])) <= there
    assert prometheus.value(alert["expr"]) == []
    assert alert["alert"] in {rule["name"] for rule in prometheus.ask("rules")["groups"][0]["rules"]}


def test_alerts_fire_when_they_should_and_only_then() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", "alerts.test.yml"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_shipped_for_prometheus_is_valid() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", str(PROMETHEUS / "prometheus.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
