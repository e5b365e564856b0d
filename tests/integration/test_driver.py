"""What a driver does when what runs beside its walk meets a fault. Without Ray: the harness of the crash tests."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import monitor as monitoring
from jobs.driver import execute, plan_run
from jobs.monitor import RunMonitor
from pipeline.core.errors import ResourceError, StoreError
from pipeline.plan.planner import plan
from pipeline.store import Store, lease, open_store, status
from pipeline.store.lease import collecting
from pipeline.store.step import Step
from pipeline.study.schema import Study
from tests.chaos.fake_study import SETTINGS, Pools

STUDY = Study.model_validate(SETTINGS)


def test_a_heartbeat_outlives_moments_of_a_full_disk_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, written = open_store(tmp_path), status.write
    monitor = RunMonitor("small", store, "studies/small-1", plan(STUDY), [], Pools(store))  # type: ignore[arg-type]
    first = status.read(store)[0]["studies/small-1"].heartbeat
    left = iter(range(3))

    def full(*args: object) -> None:
        if next(left, None) is not None:
            raise StoreError("cannot write it: No space left on device")
        written(*args)  # type: ignore[arg-type]

    async def a_moment() -> None:
        task = asyncio.create_task(monitor.heartbeat())
        async with asyncio.timeout(30):
            while status.read(store)[0]["studies/small-1"].heartbeat <= first:
                await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()

    monkeypatch.setattr(status, "write", full)
    monkeypatch.setattr(status, "HEARTBEAT_SECONDS", 0.01)
    asyncio.run(a_moment())
    assert status.read(store)[0]["studies/small-1"].heartbeat > first
    assert capsys.readouterr().err.count("No space left on device") == 1


@pytest.mark.parametrize("renewed", [0.01, 3600.0], ids=["the renewal notices", "a step notices"])
def test_a_run_that_gc_took_for_gone_ends_before_it_commits_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renewed: float
) -> None:
    store = open_store(tmp_path)

    async def suspended() -> None:
        """As if the run had slept for longer than its lease, and gc had come meanwhile."""
        monkeypatch.setattr(lease, "LEASE_SECONDS", -1.0)
        with collecting(store, lambda: None):
            pass
        await asyncio.Event().wait()

    monkeypatch.setattr(monitoring, "RENEW_SECONDS", renewed)
    outcome = plan_run(STUDY, store)
    asyncio.run(execute(STUDY, store, outcome, Pools(store), suspended))  # type: ignore[arg-type]
    assert "undertow gc took it for dead" in outcome.broken
    assert not outcome.complete
    assert not list(tmp_path.glob("*/*/manifest.json"))
    monkeypatch.undo()
    outcome = plan_run(STUDY, store)
    asyncio.run(execute(STUDY, store, outcome, Pools(store)))  # type: ignore[arg-type]
    assert outcome.complete


def test_what_fails_beside_the_walk_ends_it(tmp_path: Path) -> None:
    async def dead() -> None:
        raise ResourceError("Ray is gone")

    store = open_store(tmp_path)
    outcome = plan_run(STUDY, store)
    asyncio.run(execute(STUDY, store, outcome, Pools(store), dead))  # type: ignore[arg-type]
    assert (outcome.broken, outcome.complete) == ("Ray is gone", False)
    (note,) = status.read(store)[0].values()
    assert note.ended
    assert list(store.files(lease.FOLDER)) == []


LAST_WORK = """
import sys
from pipeline.store import artifact
from pipeline.store import open_store
store = open_store(sys.argv[1])
table = artifact.read_table(store, artifact.require(store, sys.argv[2]), "runs.parquet")
"""


def test_a_process_whose_last_work_is_to_read_a_table_ends_well(fake_run: tuple[Study, list[Step], Store]) -> None:
    """A reader with threads of its own aborted one process in seven at its end, where the machine was busy."""
    _, steps, store = fake_run
    (matrix,) = (step.path for step in steps if step.kind == "transfer")
    command = [sys.executable, "-c", LAST_WORK, store.root, matrix]
    for _ in range(3):
        processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(6)]
        for process in processes:
            _, error = process.communicate(timeout=60)
            assert process.returncode == 0, error
