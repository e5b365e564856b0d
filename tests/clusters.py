"""Real Ray clusters on this machine, of processes that `ray start` made: a head, workers, tokens on, loopback only."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import psutil

from tests.chaos.servers import free_port

PROJECT = Path(__file__).parents[1]
JOINED = "Ray runtime started."
RAY = str(Path(sys.executable).with_name("ray"))
# Nothing large goes through the object stores; raylets of one machine must not choose from the same ports.
SMALL = ["--object-store-memory", str(100 << 20), "--min-worker-port", "0", "--max-worker-port", "0"]


@dataclass(frozen=True)
class Cluster:
    """gcs: host:port; url: of the Jobs API and the dashboard; environment: what a client of it needs."""

    folder: Path
    gcs: str
    url: str
    environment: dict[str, str]
    head: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]

    def start(self, *arguments: object, log: Path | None = None) -> subprocess.Popen[str]:
        """Start `undertow …` on this cluster. Its output goes to a pipe, which the caller reads, or to a log."""
        command = [sys.executable, "-m", "jobs.cli", *map(str, arguments), "--address", self.gcs]
        environment = self.environment | {"COLUMNS": "200", "NO_COLOR": "1"}
        with contextlib.ExitStack() as opened:
            out = subprocess.PIPE if log is None else opened.enter_context(log.open("wb"))
            return subprocess.Popen(
                command, cwd=PROJECT, env=environment, text=True, stdout=out, stderr=subprocess.STDOUT
            )

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run `undertow …` on this cluster and return when it has ended."""
        process = self.start(*arguments)
        try:
            said, _ = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{arguments} did not end: {process.communicate()[0][-2000:]}") from None
        return subprocess.CompletedProcess(process.args, process.returncode, said, "")

    def kill_head(self) -> None:
        """SIGKILL to everything of the head at once, as when its machine goes."""
        _kill([self.head])

    def kill_worker(self) -> None:
        _kill([self.workers.pop()])

    def kill_worker_of(self, title: str) -> None:
        """One on which a process runs that Ray has given this title."""
        worker = next(worker for worker in self.workers if _runs(worker, title))
        self.workers.remove(worker)
        _kill([worker])

    def add_worker(self, cpus: int) -> None:
        """Returns when it has joined: of two that start at once both may fail.

        Its files are its own, as on another machine: in those of the head it would remove the packages of past jobs,
        which the head takes to be there.
        """
        log = self.folder / "ray.log"
        started = log.read_text().count(JOINED)
        command = [RAY, "start", "--block", "--address", self.gcs, "--num-cpus", str(cpus)]
        worker = _start([*command, "--temp-dir", str(self.folder / f"{started}")], self.folder, self.environment)
        deadline = time.monotonic() + 60
        while log.read_text().count(JOINED) == started:
            assert worker.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)
        self.workers.append(worker)


@contextlib.contextmanager
def ray_cluster(
    workers: int, *, cpus: int = 2, head: Mapping[str, str] | None = None, variables: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """A head without CPUs and so many workers.

    head: more options of its `ray start`. variables: more environment variables of all its processes.
    """
    # Ray's sockets lie below this folder, and a socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="ut-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "token").write_text(secrets.token_hex(32))
        dashboard = free_port()
        environment = os.environ | {
            "RAY_TMPDIR": name,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
            "RAY_JOB_STOP_WAIT_TIME_S": "90",
            "RAY_metrics_report_interval_ms": "500",
            # As in a run without a cluster (jobs.local_ray): no other program of the machine is to be spared, and
            # workers that nobody can use are not started.
            "RAY_worker_niceness": "0",
            "RAY_prestart_worker_first_driver": "0",
            "RAY_idle_worker_killing_time_threshold_ms": "60000",
            # A machine that is gone is missed sooner than it needs to be on a real network.
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
            "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_FAKE_CLUSTER": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        environment |= dict(variables or {})
        options = {"--port": str(free_port()), "--dashboard-host": "127.0.0.1", "--dashboard-port": str(dashboard)}
        options |= {"--num-cpus": "0", "--node-ip-address": "127.0.0.1"} | dict(head or {})
        command = [RAY, "start", "--head", "--block", *(part for option in options.items() for part in option)]
        process = _start(command, folder, environment)
        cluster = Cluster(
            folder, f"127.0.0.1:{options['--port']}", f"http://127.0.0.1:{dashboard}", environment, process, []
        )
        try:
            _wait(cluster)
            for _ in range(workers):
                cluster.add_worker(cpus)
            yield cluster
        finally:
            _kill([cluster.head, *cluster.workers])
            _kill_all_of(name)


def _start(command: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with (folder / "ray.log").open("ab") as log:
        agent = ["--dashboard-agent-listen-port", str(free_port())]  # through the head's agent jobs are submitted
        return subprocess.Popen([*command, *SMALL, *agent], env=dict(environment), stdout=log, stderr=log)


def _wait(cluster: Cluster) -> None:
    for _ in range(600):
        with contextlib.suppress(URLError, ConnectionError):
            try:
                urlopen(f"{cluster.url}/api/version").close()
                return
            except HTTPError:
                return  # it answers, and wants a token
        assert cluster.head.poll() is None, (cluster.folder / "ray.log").read_text()[-2000:]
        time.sleep(0.1)
    raise AssertionError("the head did not come up")


def _runs(worker: subprocess.Popen[bytes], title: str) -> bool:
    found = []
    for process in psutil.Process(worker.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(title in " ".join(process.cmdline()))
    return any(found)


def _kill(roots: list[subprocess.Popen[bytes]]) -> None:
    for root in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [*psutil.Process(root.pid).children(recursive=True), psutil.Process(root.pid)]
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        root.wait()


def _kill_all_of(folder: str) -> None:
    """What Ray has put out of our process tree: everything that was started with this temporary folder."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("RAY_TMPDIR") == folder:
                process.send_signal(signal.SIGKILL)
