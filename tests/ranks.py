"""Training processes that begin with torch and DeepSpeed loaded: a test has many, and each would import them anew."""

import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
PRELOADED = ["deepspeed", "peft", "transformers.models.auto.modeling_auto", "transformers.models.llama"]
FORKS.set_forkserver_preload(PRELOADED)
SECONDS = 300


def run_ranks(ranks: int, *command: Path) -> list[tuple[int, str]]:
    """Run a script in `ranks` processes of one group; exit code of each (-N: by signal N), and what went to stderr."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks)}
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / str(rank) for rank in range(ranks)]
        processes = []
        for rank, log in enumerate(logs):
            environment = os.environ | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            processes.append(FORKS.Process(target=_run, args=(environment, log, [str(part) for part in command])))
            processes[-1].start()
        for process in processes:
            process.join(SECONDS)
            assert process.exitcode is not None, "a rank did not end"
        return [(process.exitcode or 0, log.read_text()) for process, log in zip(processes, logs, strict=True)]


def _run(environment: Mapping[str, str], log: Path, command: list[str]) -> None:
    os.environ.update(environment)
    with log.open("w") as file:
        os.dup2(file.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")
