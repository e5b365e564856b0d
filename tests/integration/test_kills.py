"""One of each kind of kill that `make chaos` has hundreds of: under real Ray, nothing is lost and nothing doubled."""

import asyncio
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
import yaml

from jobs.driver import handle_signals
from jobs.training_group import TrainingGroup, bundles, is_peer_loss
from pipeline.core.errors import StepError
from pipeline.study.resources import Training
from tests.chaos.crashes import difference
from tests.chaos.fake_study import gather
from tests.chaos.kills import NARROW, TRAINED, TRAINING, VICTIMS, disturb, outcome, processes, undisturbed
from tests.clusters import Cluster

pytestmark = pytest.mark.ray

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_whatever_is_killed_the_study_ends_as_one_that_nobody_disturbed(cluster: Cluster, tmp_path: Path) -> None:
    tally = disturb(cluster, 4, tmp_path, NARROW)
    assert tally.wrong == []
    assert set(tally.killed) == set(VICTIMS)


def test_two_drivers_on_one_study_end_with_one_result(undertow: Command, cluster: Cluster, tmp_path: Path) -> None:
    study, root = tmp_path / "study.yaml", tmp_path / "root"
    study.write_text(yaml.safe_dump(NARROW))
    drivers = [cluster.start("run", study, "--root", root) for _ in range(2)]
    for driver in drivers:
        said, _ = driver.communicate(timeout=300)
        assert driver.returncode == 0, said
    assert undertow("verify", root).returncode == 0
    assert difference(undisturbed(NARROW, tmp_path / "alone"), gather(str(root))) == ""


def test_a_training_outlives_a_rank_and_a_machine_that_takes_its_driver_along(
    cluster: Cluster, tmp_path: Path, trained_alone: tuple[str, list[float]]
) -> None:
    """A real one, of two ranks on two machines: each time it goes on from a checkpoint, to the same weights.

    How a driver outlives a machine is shown in test_cluster.py.
    """
    study, root = tmp_path / "study.yaml", tmp_path / "root"
    study.write_text(
        yaml.safe_dump(TRAINING | {"resources": {"training": TRAINING["resources"]["training"] | {"cpus": 2}}})
    )
    for _ in range(2):
        cluster.add_worker(2)
    driver = cluster.start("run", study, "--root", root)
    _wait_for_checkpoint(root)
    random.Random(1).choice(processes("ray::TrainingRank")).kill()
    _wait_for_checkpoint(root)
    cluster.kill_worker_of("ray::TrainingRank")
    driver.kill()
    driver.wait()
    assert not list(root.glob(TRAINED)), "it was done before its driver was killed"
    again = cluster.start("run", study, "--root", root)
    deadline = time.monotonic() + 240
    while not list(root.glob(TRAINED)):
        assert again.poll() is None, again.communicate()[0]
        assert time.monotonic() < deadline, "it was not trained in time"
        time.sleep(0.1)
    again.kill()  # else it would start an engine for what it has trained
    again.wait()
    cluster.kill_worker()
    assert outcome(root) == trained_alone


def _wait_for_checkpoint(root: Path) -> None:
    """Until both ranks have written one that was not there."""
    before = set(root.glob("base/*/checkpoints/*/rank-*.json"))
    deadline = time.monotonic() + 120
    while len(set(root.glob("base/*/checkpoints/*/rank-*.json")) - before) < 2:
        assert time.monotonic() < deadline, "no checkpoint in time"
        time.sleep(0.02)


def test_a_failure_on_one_rank_is_told_and_leaves_no_other_waiting(tmp_path: Path) -> None:
    """The other rank is in a collective by then, in which it would wait for ever."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        training = Training(workers=2, groups=1)
        group = ray.remote(TrainingGroup).options(num_cpus=0)
        group = group.remote("test", str(tmp_path), training, "trainer:1", bundles(training))
        with pytest.raises(StepError, match="rank 1 cannot"):
            ray.get(group.work.remote(_one_rank_fails), timeout=120)
        assert ray.get(group.work.remote(_ranks), timeout=120) == 2, "it takes no other unit"
    finally:
        ray.shutdown()


def _one_rank_fails(store: object, trainer: object) -> None:
    import torch.distributed as dist

    if dist.get_rank() == 1:
        raise ValueError("rank 1 cannot")
    dist.barrier()


def _ranks(store: object, trainer: object) -> int:
    import torch.distributed as dist

    dist.barrier()
    return dist.get_world_size()


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (
            RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1"),
            True,
        ),
        (
            RuntimeError(
                "NCCL error in: ProcessGroupNCCL.cpp:2356, remote process exited or there was a network error"
            ),
            True,
        ),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
        (StepError("rank 1 cannot"), False),
    ],
)
def test_a_rank_that_is_gone_is_no_fault_of_the_unit(error: Exception, lost: bool) -> None:
    """The rank that is left may hear of it before Ray does, and must not fail the step for it."""
    assert is_peer_loss(error) == lost


def test_after_sigterm_what_is_in_flight_ends_and_the_same_command_goes_on(
    undertow: Command, cluster: Cluster, tmp_path: Path
) -> None:
    study, root = tmp_path / "study.yaml", tmp_path / "root"
    study.write_text(yaml.safe_dump(NARROW | {"completions": {"rows": 2000, "shard_rows": 20}}))
    driver = cluster.start("run", study, "--root", root)
    deadline = time.monotonic() + 120
    while not list(root.glob("completions/*/units/shard-*.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    driver.send_signal(signal.SIGTERM)
    said, _ = driver.communicate(timeout=90)
    assert driver.returncode == 128 + signal.SIGTERM, said
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    shards = {path.stem for path in root.glob("completions/*/shard-*.parquet")}
    assert shards == {path.stem for path in root.glob("completions/*/units/shard-*.json")}, "a shard was left half done"
    assert "interrupted" in undertow("status", root).stdout
    before = {path: path.stat().st_mtime_ns for path in root.glob("completions/*/units/*.json")}
    assert 0 < len(before) < 3 * 100
    assert cluster.run("run", study, "--root", root, "--until", "completions").returncode == 0
    assert len(list(root.glob("completions/*/units/*.json"))) == 3 * 100
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_heard_while_thousands_of_units_wake_the_driver_up(sent: signal.Signals) -> None:
    async def busy() -> list[signal.Signals]:
        loop, told = asyncio.get_running_loop(), list[signal.Signals]()
        with handle_signals(told.append):
            for _ in range(5000):  # what other threads do when their units are done; it fills asyncio's own pipe
                loop.call_soon_threadsafe(lambda: None)
            os.kill(os.getpid(), sent)
            async with asyncio.timeout(20):
                while not told:
                    await asyncio.sleep(0.01)
        return told

    before = signal.getsignal(sent)
    assert asyncio.run(busy()) == [sent]
    assert signal.getsignal(sent) == before
