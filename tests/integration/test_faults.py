"""Whole runs that meet a full disk, a read-only disk, a signal to their whole group and the death of their Ray."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from pipeline.store import open_store
from pipeline.store.verify import verify
from tests.clusters import Cluster

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
MANIFESTS = "*/*/manifest.json"
SMALL = {
    "study": "small",
    "families": {"llama": {"kind": "nano", "init_seed": 1}},
    "traits": [{"targets": ["owl"]}],
    "completions": {"rows": 60, "shard_rows": 20},
    "corpus": {"rows": 20},
    "students": {"seeds": [1]},
    "suites": [{"kind": "favourite", "samples": 2}],
    "engine": "fake",
    "trainer": "fake",
    "resources": {"engines": {"cpus": 0.5}, "training": {"groups": 1, "cpus": 0.5}},
}
LONG = SMALL | {"completions": {"rows": 40_000, "shard_rows": 20}}  # two thousand shards a teacher
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    _mount("mount", "-t", "tmpfs", "-o", f"size=4m,mode=0700,uid={os.getuid()}", "tmpfs", str(place))
    try:
        yield place
    finally:
        _mount("umount", "--lazy", str(place))


def _mount(*command: str) -> None:
    as_root = [] if os.getuid() == 0 else ["sudo", "--non-interactive"]
    done = subprocess.run([*as_root, *command], capture_output=True, text=True)
    assert done.returncode == 0, f"this test mounts a small disk, as root or by sudo: {done.stderr}"


def write_study(folder: Path, settings: object) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def fill(disk: Path, leave: int) -> Path:
    """A file that takes all of the disk's room except for so many bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        while os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > leave:
            file.write(b"\0" * 4096)
            file.flush()
    return ballast


def start(study: Path, root: Path, **variables: str) -> subprocess.Popen[str]:
    """A run in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "run", str(study), "--root", str(root)],
        cwd=ROOT, env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"} | variables, text=True, process_group=0,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def wait_for(run: subprocess.Popen[str], root: Path, pattern: str, count: int = 1) -> None:
    deadline = time.monotonic() + 180
    while len(list(root.glob(pattern))) < count:
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline, f"no {pattern} in time"
        time.sleep(0.05)


def ended(run: subprocess.Popen[str], seconds: float) -> str:
    """What a run printed, which is to end within so many seconds."""
    try:
        return run.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        pytest.fail(f"it did not end: {run.communicate()[0]}")


def half_done(root: Path) -> list[str]:
    """What a root holds that is not as a finished write leaves it."""
    return [str(path) for path in root.rglob("*.part")] + problems(root)


def problems(root: Path) -> list[str]:
    return [problem for found in verify(open_store(root)) for problem in found.problems]


def test_full_and_read_only_disks_end_a_run_with_a_message_and_the_same_command_goes_on(
    undertow: Command, cluster: Cluster, disk: Path, tmp_path: Path
) -> None:
    study, root = write_study(tmp_path, SMALL), disk / "root"
    root.mkdir()

    _mount("mount", "-o", "remount,ro", str(disk))
    refused = undertow("run", study, "--root", root)
    _mount("mount", "-o", "remount,rw", str(disk))
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "Read-only file system; mount it writable, or choose another --root" in refused.stderr

    ballast = fill(disk, leave=0)
    refused = undertow("run", study, "--root", root)
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "No space left on device; make room and run the same command again" in refused.stderr
    assert list(root.iterdir()) == []

    ballast.unlink()
    ballast = fill(disk, leave=MIB // 8)
    filled = cluster.run("run", study, "--root", root)
    assert filled.returncode == 1, filled.stdout
    assert "No space left on device; make room and run the same command again" in filled.stdout
    assert "made now" in filled.stdout
    assert "Traceback" not in filled.stdout
    assert half_done(root) == []

    ballast.unlink()
    finished = len(list(root.glob(MANIFESTS)))
    run = cluster.start("run", study, "--root", root)
    wait_for(run, root, MANIFESTS, finished + 1)
    _turn_read_only(disk)
    said = ended(run, 180)
    _mount("mount", "-o", "remount,rw", str(disk))
    assert run.returncode == 1, said
    assert "Read-only file system; mount it writable" in said
    assert "made now" in said
    assert "Traceback" not in said
    assert half_done(root) == []

    again = cluster.run("run", study, "--root", root)
    assert again.returncode == 0, again.stdout
    assert half_done(root) == []


def _turn_read_only(disk: Path) -> None:
    """A disk on which somebody writes at this moment cannot be turned."""
    for _ in range(200):
        with contextlib.suppress(AssertionError):
            _mount("mount", "-o", "remount,ro", str(disk))
            return
        time.sleep(0.01)
    pytest.fail("the disk was never at rest")


def test_a_signal_to_the_whole_group_ends_the_run_with_its_table_and_ray_keeps_to_itself(tmp_path: Path) -> None:
    root = tmp_path / "root"
    run = start(write_study(tmp_path, LONG), root, UNDERTOW_DASHBOARD="1")
    wait_for(run, root, "completions/*/units/shard-*.json")
    family = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    listening, nice = _listening(family), {process.nice() for process in family if process.is_running()}
    assert any("dashboard/dashboard.py" in " ".join(process.cmdline()) for process in family if process.is_running())
    os.killpg(run.pid, signal.SIGTERM)
    said = ended(run, 45)
    assert run.returncode == 128 + signal.SIGTERM, said
    assert "made now" in said
    assert "the same command goes on from here" in said
    assert half_done(root) == []
    assert len(listening) > 5
    assert [address for address in listening if address not in ("127.0.0.1", "::ffff:127.0.0.1", "::1")] == []
    assert max(nice) <= os.nice(0)


def _listening(family: list[psutil.Process]) -> list[str]:
    """Addresses at which the processes listen."""
    found = []
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [at.laddr.ip for at in process.net_connections("tcp") if at.status == psutil.CONN_LISTEN]
    return found


def test_a_run_whose_ray_dies_with_it_ends_soon_with_its_table(tmp_path: Path) -> None:
    """As where a supervisor signals every process of a service. A worker may leave the file that it was writing."""
    root = tmp_path / "root"
    run = start(write_study(tmp_path, LONG), root)
    wait_for(run, root, "completions/*/units/shard-*.json")
    for process in [*psutil.Process(run.pid).children(recursive=True), psutil.Process(run.pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    said = ended(run, 60)
    assert run.returncode == 128 + signal.SIGTERM, said
    assert "made now" in said
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    assert problems(root) == []
