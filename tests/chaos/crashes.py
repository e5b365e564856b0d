"""Crash enumeration: every request of a small study × every fault, then a restart, then a comparison.

    python -m tests.chaos.crashes [--server moto] [--every 40] [--jobs 1]

Each point is one process that is forked from this one, which has everything imported and no thread.
"""

import argparse
import contextlib
import importlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from tests.chaos.proxy import FAULTS
from tests.chaos.servers import CREDENTIALS, SERVERS, free_port, make_bucket, s3_server, serving

BUCKET = "chaos"
LIMIT_SECONDS = 120
UNMET = "the request was not made"


@dataclass
class Tally:
    """What became of the points of one server. ended: fault -> points; wrong: a line for each that went wrong.

    unmet: points whose request was not made this time, such as a model's that another thread had fetched.
    """

    server: str
    requests: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    unmet: int = 0


class Bench:
    """One S3 server behind one proxy, for as long as the context lasts."""

    def __init__(self, server: str) -> None:
        self.server = server
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Bench":
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="undertow-chaos-")))
        self._direct = self._stack.enter_context(s3_server(self.server, self.folder / "server.log"))
        make_bucket(self._direct, BUCKET)
        proxy, control = free_port(), free_port()
        self.proxied, self._control = f"http://127.0.0.1:{proxy}", f"http://127.0.0.1:{control}"
        command = [sys.executable, str(Path(__file__).with_name("proxy.py")), str(proxy), str(control), self._direct]
        self._stack.enter_context(serving(command, {}, f"{self._control}/state", self.folder / "proxy.log"))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.close()

    def begin(self, request: str | None, fault: str | None) -> None:
        self._post("begin", {"request": request, "fault": fault})

    def state(self) -> dict[str, Any]:
        with urlopen(f"{self._control}/state") as reply:
            return json.load(reply)

    def release(self) -> None:
        self._post("release", {})

    def spawn(self, prefix: str, work: Callable[[str], Any], *, proxied: bool = True) -> "Child":
        """work(root) in a forked process."""
        return Child(
            self.folder / prefix,
            lambda: work(f"s3://{BUCKET}/{prefix}"),
            CREDENTIALS
            | {
                "AWS_ENDPOINT_URL": self.proxied if proxied else self._direct,
                "UNDERTOW_CACHE": str(self.folder / prefix / "cache"),
            },
        )

    def _post(self, name: str, fields: dict[str, Any]) -> None:
        body = json.dumps(fields).encode()
        with urlopen(Request(f"{self._control}/{name}", body, {"Content-Type": "application/json"})):
            pass


class Child:
    """A forked process; its result is what its work returned, as JSON, or None."""

    def __init__(self, folder: Path, work: Callable[[], Any], environment: dict[str, str]) -> None:
        folder.mkdir(exist_ok=True)
        self._result = folder / "result.json"
        self._result.unlink(missing_ok=True)
        self.log = folder / "log"
        self._pid = os.fork()
        if self._pid == 0:
            code = 1
            try:
                with self.log.open("a") as log:
                    os.dup2(log.fileno(), 1)
                    os.dup2(log.fileno(), 2)
                os.environ |= environment
                self._result.write_text(json.dumps(work()))
                code = 0
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", flush=True)
            finally:
                os._exit(code)

    def ended(self) -> bool:
        pid, _ = os.waitpid(self._pid, os.WNOHANG)
        return pid != 0

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def result(self) -> Any:
        deadline = time.monotonic() + LIMIT_SECONDS
        while not self.ended():
            if time.monotonic() > deadline:
                self.kill()
                return None
            time.sleep(0.01)
        return json.loads(self._result.read_text()) if self._result.exists() else None


def enumerate_crashes(
    bench: Bench, every: int, offset: int = 0, only: str = "", say: Callable[[str], None] = print
) -> Tally:
    """Put every `every`-th of all request × fault points to a study, beginning at `offset`; only: a regex of names."""
    from tests.chaos import fake_study

    tally = Tally(bench.server)
    bench.begin(None, None)
    assert bench.spawn("golden", fake_study.run).result() is True, (bench.folder / "golden" / "log").read_text()
    requests = sorted(name for name in bench.state()["requests"] if _is_certain(name) and re.search(only, name))
    golden = bench.spawn("golden", fake_study.gather, proxied=False).result()
    assert len(golden) == 17, f"a fake study makes 17 artifacts and {len(golden)} were found"
    tally.requests = len(requests)
    points = [(request, fault) for request in requests for fault in FAULTS][offset::every]
    for number, (request, fault) in enumerate(points):
        prefix = f"point-{number}"
        try:
            wrong = _crash(bench, prefix, request, fault, golden)
        except (OSError, URLError) as error:
            wrong = f"the harness failed: {error}"
        if wrong == UNMET:
            tally.unmet += 1
            continue
        tally.ended[fault] += 1
        if wrong:
            tally.wrong.append(f"{fault} at {request}: {wrong}")
            say(tally.wrong[-1])
        else:
            shutil.rmtree(bench.folder / prefix)
        if number % 50 == 49:
            say(f"{bench.server}: {number + 1} of {len(points)} points, {len(tally.wrong)} wrong")
    return tally


def _crash(bench: Bench, prefix: str, request: str, fault: str, golden: dict[str, Any]) -> str:
    """What went wrong at one point; "" where nothing did."""
    from tests.chaos import fake_study

    bench.begin(request, fault)
    first = bench.spawn(prefix, fake_study.run)
    if fault in ("stall", "kill"):
        while not (reached := bench.state()["reached"]) and not first.ended():
            time.sleep(0.005)
        if not reached:
            return UNMET
        first.kill()
    elif first.result() is None and not bench.state()["reached"]:
        return "the first run failed before the fault"
    elif not bench.state()["reached"]:
        return UNMET
    if bench.spawn(prefix, fake_study.run).result() is not True:
        return f"the restart did not complete: {(bench.folder / prefix / 'log').read_text()[-500:]}"
    if fault == "stall":
        bench.release()
    return difference(golden, bench.spawn(prefix, fake_study.gather, proxied=False).result())


def difference(golden: dict[str, Any], found: dict[str, Any] | None) -> str:
    """How what a root holds differs from the golden run, in rows lost, doubled, false or other."""
    if found is None:
        return "the root cannot be read"
    said = []
    for path in sorted(golden.keys() | found.keys()):
        want = Counter(map(tuple, golden.get(path, [])))
        have = Counter(map(tuple, found.get(path, [])))
        if want != have or (path in golden) != (path in found):
            said.append(
                f"{path}: {sum((want - have).values())} rows lost, {sum((have - want).values())} more than planned"
            )
    return "; ".join(said)


def _is_certain(name: str) -> bool:
    """Whether every run makes the request: how often a driver notes its progress hangs on the clock, and no two leases
    have the same name."""
    return "leases/run-" not in name and not (name.startswith("PUT studies/") and not name.endswith("#1"))


def preload() -> None:
    """Import once what the forked processes need; nothing of it may start a thread."""
    for name in ("matplotlib.pyplot", "s3fs", "scipy.stats", "pipeline.stages.report", "tests.chaos.fake_study"):
        importlib.import_module(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", choices=SERVERS, default="moto")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--only", default="", help="a regular expression for names of requests")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    preload()
    started = time.monotonic()
    with Bench(arguments.server) as bench:
        say = partial(print, flush=True)
        tally = enumerate_crashes(bench, arguments.every, arguments.offset, arguments.only, say)
    points = sum(tally.ended.values())
    print(
        f"{tally.server}: {points} crash points covered ({tally.requests} requests × {len(FAULTS)} faults"
        f"{f', every {arguments.every}th' if arguments.every > 1 else ''}; {tally.unmet} not met), "
        f"{len(tally.wrong)} wrong, "
        f"{time.monotonic() - started:.0f} s"
    )
    if arguments.out:
        arguments.out.write_text(json.dumps(vars(tally) | {"seconds": time.monotonic() - started}))
    sys.exit(1 if tally.wrong else 0)


if __name__ == "__main__":
    main()
