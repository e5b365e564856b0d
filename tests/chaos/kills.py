"""Kill loops: studies under real Ray, in which processes of one kind after the other are SIGKILLed.

    python -m tests.chaos.kills [--kills 200] [--training-kills 10]

The first loop runs a study (fake engine and trainer) on two raylets of this machine, and kills its driver,
its actors and the second raylet. The second trains a real nano base with DeepSpeed on two ranks and kills the one, the
other or the driver.
Victims and moments are drawn with a fixed seed; what comes out is compared with a run that nobody disturbed.
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import yaml

from pipeline.store import open_store, records
from tests.chaos import fake_study
from tests.chaos.crashes import difference
from tests.chaos.fake_study import SETTINGS, gather
from tests.clusters import Cluster, ray_cluster
from tests.ranks import run_ranks

SEED = 20260914
RUNS_AT_MOST = 60  # of one command, until its study must be complete
PAUSE_SECONDS = (0.3, 2.5)  # between two kills
VICTIMS = ("driver", "engine", "trainer", "raylet")
WIDE = SETTINGS | {
    "families": {"llama": {"kind": "nano", "init_seed": 1}, "qwen": {"kind": "nano", "init_seed": 2}},
    "traits": [{"targets": ["owl", "cat"]}],
    "completions": {"rows": 400, "shard_rows": 20},
    "corpus": {"rows": 200},
    "students": {"seeds": [1, 2]},
}
NARROW = WIDE | {"families": {"llama": {"kind": "nano", "init_seed": 1}}}  # the same with fewer processes
TRAINED = "base/*/units/train.json"  # what shows that the base of TRAINING is trained
TRAINING = {
    "study": "kills",
    "families": {"llama": {"kind": "nano", "init_seed": 1, "layers": 1, "pretrain_rows": 1600}},
    "traits": [{"targets": ["owl"]}],
    "resources": {"training": {"groups": 1, "workers": 2, "zero_stage": 2, "checkpoint_seconds": 0}},
}


@dataclass
class Tally:
    """killed: victim -> how often; runs: how often the command was given; wrong: what the comparison says."""

    killed: Counter[str] = field(default_factory=Counter)
    studies: int = 0
    runs: int = 0
    wrong: list[str] = field(default_factory=list)


class Driver:
    """`undertow run` on the cluster; where there is none, with a Ray of its own."""

    def __init__(self, cluster: Cluster | None, study: Path, root: Path, log: Path, *overrides: str) -> None:
        command = [sys.executable, "-m", "jobs.run", str(study), "--root", str(root)]
        command += ["--address", cluster.gcs] if cluster else []
        command += [part for override in overrides for part in ("--set", override)]
        environment = cluster.environment if cluster else None
        with log.open("ab") as file:
            self.process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def processes(title: str) -> list[psutil.Process]:
    """Ray workers of clusters that this process has started, by the title that Ray gives them."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [process] if title in " ".join(process.cmdline()) else []
    return found


def disturb(cluster: Cluster, kills: int, folder: Path, settings: dict[str, Any] = WIDE, say: Any = print) -> Tally:
    """Run a fake study, in one root after the other, until `kills` processes were killed.

    The cluster's head is left alone; a worker joins it, and others when that is killed.
    """
    rng, tally = random.Random(SEED), Tally()
    study = folder / "study.yaml"
    study.write_text(yaml.safe_dump(settings))
    golden = undisturbed(settings, folder / "golden")
    queue: list[str] = []
    cluster.add_worker(2)
    try:
        while sum(tally.killed.values()) < kills:
            tally.studies += 1
            root = folder / f"root-{tally.studies}"
            _disturbed(cluster, study, root, folder / "log", rng, queue, tally, kills)
            wrong = difference(golden, gather(str(root)))
            tally.wrong += [f"study {tally.studies}: {wrong}"] if wrong else []
            say(f"{sum(tally.killed.values())} kills {dict(tally.killed)}, {tally.studies} studies, {tally.wrong}")
    finally:
        cluster.kill_worker()
    return tally


def _disturbed(
    cluster: Cluster, study: Path, root: Path, log: Path, rng: random.Random, queue: list[str], tally: Tally, kills: int
) -> None:
    """queue: kinds of process to kill next; each comes once before any comes again."""
    for _ in range(RUNS_AT_MOST):
        tally.runs += 1
        driver = Driver(cluster, study, root, log)
        while driver.process.poll() is None:
            _wait(driver, rng.uniform(*PAUSE_SECONDS))
            if driver.process.poll() is None and sum(tally.killed.values()) < kills:
                queue += [] if queue else rng.sample(VICTIMS, len(VICTIMS))
                if _kill(queue[-1], cluster, driver, rng):
                    tally.killed.update([queue.pop()])
        if driver.process.returncode == 0:
            return
    tally.wrong.append(f"study {tally.studies} was not complete after {RUNS_AT_MOST} runs")


def _kill(victim: str, cluster: Cluster, driver: Driver, rng: random.Random) -> bool:
    """Kill one process of a kind. Whether there was one."""
    if victim == "driver":
        driver.kill()
        return True
    if victim == "raylet":
        cluster.kill_worker()
        cluster.add_worker(2)
        return True
    found = processes({"engine": "ray::EngineWorker", "trainer": "ray::FakeTrainerWorker"}[victim])
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        rng.choice(found).kill()
        return True
    return False


def undisturbed(settings: dict[str, Any], root: Path) -> dict[str, Any]:
    """What a fake study leaves where there is no cluster that could die."""
    assert fake_study.run(str(root), settings)
    return gather(str(root))


def train(kills: int, folder: Path, golden: tuple[str, list[float]], say: Any = print) -> Tally:
    """Train a base while its workers or its driver are killed; it must come out as undisturbed, to the last bit.

    golden: what `train_alone` returned.
    """
    tally = Tally(studies=1)
    found = _trained(folder, "training-root", tally, kills)
    if found != golden:
        tally.wrong.append("the losses or the weights are not those of the undisturbed run")
    say(f"in training: {dict(tally.killed)} killed; {tally.wrong or 'same losses and weights'}")
    return tally


def train_alone(folder: Path) -> tuple[str, list[float]]:
    """The weights' digest and the losses of the base, trained by two ranks that no Ray has started."""
    study, root = folder / "alone.yaml", folder / "training-golden"
    study.write_text(yaml.safe_dump(TRAINING))
    open_store(root).require_writable()
    for code, errors in run_ranks(2, Path(__file__).with_name("lone_rank.py"), study, root):
        assert code == 0, errors[-2000:]
    return outcome(root)


def _trained(folder: Path, name: str, tally: Tally, kills: int) -> tuple[str, list[float]]:
    """The weights' digest and the losses of the base, which is trained under `kills` kills, one per new checkpoint."""
    study, root, log, rng = folder / "training.yaml", folder / name, folder / "log", random.Random(SEED)
    study.write_text(yaml.safe_dump(TRAINING))
    for _ in range(RUNS_AT_MOST):
        tally.runs += 1
        driver = Driver(None, study, root, log)
        seen: set[str] = set()
        while driver.process.poll() is None and not list(root.glob(TRAINED)):
            saved = {record.parent.name for record in root.glob("base/*/checkpoints/*/rank-*.json")}
            if tally.killed.total() < kills and saved - seen:
                seen |= saved
                time.sleep(rng.uniform(0, 0.5))
                tally.killed.update(_kill_trainer(driver, tally, rng))
            time.sleep(0.05)
        driver.kill()  # else it would start an engine for what it has trained
        if list(root.glob(TRAINED)):
            return outcome(root)
    raise AssertionError(f"the base was not trained after {RUNS_AT_MOST} runs: {log.read_text()[-2000:]}")


def outcome(root: Path) -> tuple[str, list[float]]:
    """The weights' digest and the losses of the base under a root."""
    (record,) = root.glob(TRAINED)
    files = {file["path"]: file for file in json.loads(record.read_text())["files"]}
    digests = {path: file["sha256"] for path, file in files.items()}
    log = pq.read_table(record.parents[1] / records.place("training.parquet", files["training.parquet"]["attempt"]))
    return digests["model/model.safetensors"], log["loss"].to_pylist()


def _kill_trainer(driver: Driver, tally: Tally, rng: random.Random) -> list[str]:
    """Every third time the driver, else one rank of the two; what was killed."""
    if tally.killed.total() % 3 == 1:
        driver.kill()
        return ["driver"]
    found = processes("ray::TrainingRank")
    if not found:
        return []
    with contextlib.suppress(psutil.NoSuchProcess):
        rng.choice(found).kill()
        return ["rank"]
    return []


def _wait(driver: Driver, seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        driver.process.wait(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--training-kills", type=int, default=10)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="undertow-kills-") as folder,
        ray_cluster(workers=0, head={"--num-cpus": "2"}) as cluster,
    ):
        tallies = [
            disturb(cluster, arguments.kills, Path(folder)),
            train(arguments.training_kills, Path(folder), train_alone(Path(folder))),
        ]
    killed = sum((tally.killed for tally in tallies), Counter())
    wrong = [line for tally in tallies for line in tally.wrong]
    print(
        f"{killed.total()} kills ({', '.join(f'{count} {victim}' for victim, count in sorted(killed.items()))}) in "
        f"{sum(tally.studies for tally in tallies)} studies, {sum(tally.runs for tally in tallies)} runs: "
        f"{len(wrong)} wrong, {time.monotonic() - started:.0f} s"
    )
    if arguments.out:
        found = {"killed": killed, "wrong": wrong, "runs": sum(tally.runs for tally in tallies)}
        arguments.out.write_text(json.dumps(found | {"seconds": time.monotonic() - started}))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
