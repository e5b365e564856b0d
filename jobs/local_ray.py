"""A Ray of this run's own on this machine: kept to itself, started twice if need be, and missed once it has died."""

import atexit
import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from functools import partial
from unittest.mock import patch

import ray
from ray._private import ray_constants, services, worker
from rich.console import Console
from rich.text import Text

from pipeline.core.errors import ResourceError

STARTS = 2
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"}  # else training groups listen at the address of the machine's name
VITAL = {ray_constants.PROCESS_TYPE_GCS_SERVER, ray_constants.PROCESS_TYPE_RAYLET}
LOGS = "/tmp/ray/session_latest/logs"


def start(environment: Mapping[str, str]) -> None:
    """environment: of all workers. Raises ResourceError where Ray does not start."""
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    for attempt in range(1, STARTS + 1):
        try:
            with _apart():
                ray.init(
                    address="local",
                    dashboard_host="127.0.0.1",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"env_vars": {**environment, **LOOPBACK}},
                    _system_config={"worker_niceness": 0},  # at Ray's 15, other programs of the user starve a run
                )
            return
        except Exception as error:  # a start that takes too long Ray tells by a bare Exception
            why = f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0]
        with contextlib.suppress(Exception):
            ray.shutdown()
        if attempt < STARTS:
            Console(stderr=True).print(Text(f"Ray did not start ({why}); trying once more", "yellow"), soft_wrap=True)
    raise ResourceError(
        f"Ray did not start on this machine: {why}. Look for a lack of memory or disk, for other load, and at {LOGS}; "
        "then run the same command again."
    )


def require_alive() -> None:
    """Raise ResourceError where a process of it has ended without which Ray does nothing."""
    if not _is_alive():
        raise ResourceError(
            "Ray, which this run had started on this machine, has ended: what is finished is kept, and the same "
            f"command goes on. If nobody ended it, look for a lack of memory, and at {LOGS}."
        )


def shut_down() -> None:
    """End it. One that has died is left to end with this process: to shut it down takes Ray another 15 s."""
    if _is_alive():
        ray.shutdown()
    else:
        atexit.unregister(worker.shutdown)


def _is_alive() -> bool:
    node = worker._global_node
    return node is not None and not any(kind in VITAL for kind, _ in node.dead_processes())


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """Has Ray start its processes in groups of their own, with every port on the loopback interface.

    A signal to the driver's group, as `timeout` and supervisors send it, then reaches the driver alone, which lets what
    is in flight finish. Ray has no option for either. The second is what it does on desktop systems, where it expects
    no cluster; a `_node_ip_address` of 127.0.0.1 it replaces by the machine's address in the network.
    """
    with (
        patch.object(services, "ConsolePopen", partial(services.ConsolePopen, process_group=0)),
        patch.object(ray_constants, "ENABLE_RAY_CLUSTER", False),
    ):
        yield
