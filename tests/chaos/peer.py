"""The peer under the same harness: Ray Data's checkpointed Parquet writer, killed at its requests and run again.

    python -m tests.chaos.peer [--server moto] [--every 1]

It writes the rows of a fake study's completions: 4 blocks, one a file. At every request that changes the store all
processes of the run are SIGKILLed, once before the request is applied and once after; then it is run again.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from tests.chaos.crashes import BUCKET, Bench
from tests.chaos.servers import CREDENTIALS

BLOCKS, ROWS_A_BLOCK = 4, 10
FAULTS = {"stall": "killed before it is applied, which it never is", "kill": "killed after it is applied"}
LIMIT_SECONDS = 180


def write(source: str, root: str) -> None:
    """The program under test."""
    import ray
    from pyarrow import fs
    from ray.data.checkpoint import CheckpointConfig

    store = fs.S3FileSystem(
        access_key=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        secret_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region=CREDENTIALS["AWS_DEFAULT_REGION"],
        scheme="http",
        endpoint_override=os.environ["AWS_ENDPOINT_URL"].removeprefix("http://"),
    )
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=1 << 28)
    context = ray.data.DataContext.get_current()
    context.checkpoint_config = CheckpointConfig(
        "index", f"{root}/checkpoint", delete_checkpoint_on_success=False, override_filesystem=store
    )
    ray.data.read_parquet(source, override_num_blocks=BLOCKS).write_parquet(f"{root}/rows", filesystem=store)


class Writer:
    """One run of the program, in a process of its own."""

    def __init__(self, bench: Bench, source: Path, prefix: str) -> None:
        command = [sys.executable, "-m", "tests.chaos.peer", "--write", str(source), f"{BUCKET}/{prefix}"]
        environment = os.environ | CREDENTIALS | {"AWS_ENDPOINT_URL": bench.proxied}
        with (bench.folder / "peer.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    def kill(self) -> None:
        """Everything at once, as when the machine goes."""
        family = [self.process, *psutil.Process(self.process.pid).children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


def compare(bench: Bench, every: int, say: Any = print) -> dict[str, Any]:
    """How many crash points of the peer lost or doubled rows."""
    source = bench.folder / "source"
    source.mkdir()
    for block in range(BLOCKS):
        index = range(block * ROWS_A_BLOCK, (block + 1) * ROWS_A_BLOCK)
        pq.write_table(
            pa.table({"index": list(index), "completion": [f"{i}, {i + 1}" for i in index]}),
            source / f"{block}.parquet",
        )
    bench.begin(None, None)
    assert Writer(bench, source, "golden").process.wait(LIMIT_SECONDS) == 0, (bench.folder / "peer.log").read_text()
    names = [name for name in bench.state()["requests"] if not name.startswith(("GET", "HEAD"))]
    # Names of files are drawn anew in every run, so a point is the n-th changing request, not a name.
    points = [(number, fault) for number in range(1, len(names) + 1) for fault in FAULTS][::every]
    found: dict[str, Any] = {"points": 0, "lost": 0, "doubled": 0, "failed": 0, "wrong": []}
    for number, fault in points:
        outcome = _crash(bench, source, f"peer-{number}-{fault}", number, fault)
        found["points"] += 1
        for kind, rows in outcome.items():
            if rows:
                found[kind] += 1
                found["wrong"].append(f"{fault} at changing request {number}: {rows} rows {kind}")
                say(found["wrong"][-1])
    return found


def _crash(bench: Bench, source: Path, prefix: str, number: int, fault: str) -> dict[str, int]:
    bench.begin(f"change {number}", fault)
    first = Writer(bench, source, prefix)
    deadline = time.monotonic() + LIMIT_SECONDS
    while not bench.state()["reached"] and first.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    first.kill()
    if Writer(bench, source, prefix).process.wait(LIMIT_SECONDS) != 0:
        return {"failed": BLOCKS * ROWS_A_BLOCK}
    rows = Counter(bench.spawn(prefix, _indices, proxied=False).result())
    planned = Counter(map(str, range(BLOCKS * ROWS_A_BLOCK)))
    return {"lost": sum((planned - rows).values()), "doubled": sum((rows - planned).values())}


def _indices(root: str) -> dict[str, int]:
    """index -> rows of it, over all Parquet files that a reader of the output would find."""
    from pipeline.store import open_store

    store = open_store(root)
    counts: Counter[str] = Counter()
    for entry in store.files("rows"):
        if entry.path.endswith(".parquet"):
            counts.update(map(str, pq.read_table(pa.BufferReader(store.read(entry.path)))["index"].to_pylist()))
    return dict(counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="moto")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--write", nargs=2, metavar=("SOURCE", "ROOT"))
    arguments = parser.parse_args()
    if arguments.write:
        write(*arguments.write)
        return
    started = time.monotonic()
    with Bench(arguments.server) as bench:
        found = compare(bench, arguments.every, lambda text: print(text, flush=True))
    print(
        f"Ray Data, {arguments.server}: {found['points']} crash points covered: {found['lost']} lost rows, "
        f"{found['doubled']} doubled rows, {found['failed']} could not be run again, "
        f"{time.monotonic() - started:.0f} s"
    )
    if arguments.out:
        arguments.out.write_text(json.dumps(found | {"seconds": time.monotonic() - started}))


if __name__ == "__main__":
    main()
