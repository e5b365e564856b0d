"""A private Ray on this machine: on loopback only, with a second attempt to start, and checked for its death."""

import atexit
import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from functools import partial
from unittest.mock import patch

import ray
from ray._private import parameter, ray_constants, services, worker
from rich.console import Console
from rich.text import Text

from pipeline.core.errors import ResourceError

STARTS = 2
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"}  # otherwise training groups listen on the address of the machine's name
SYSTEM = {
    "prestart_worker_first_driver": False,  # these would have another environment than every worker of a run
    "worker_niceness": 0,  # with Ray's 15, the user's other programs starve a run
    "idle_worker_killing_time_threshold_ms": 60_000,  # with Ray's 1 s, the next task starts with all imports again
}
VITAL = {ray_constants.PROCESS_TYPE_GCS_SERVER, ray_constants.PROCESS_TYPE_RAYLET}
LOGS = "/tmp/ray/session_latest/logs"


def start(environment: Mapping[str, str]) -> None:
    """Start Ray, with its dashboard unless UNDERTOW_DASHBOARD is 0.

    environment: variables of all workers. Raises ResourceError if Ray does not start.
    """
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    for attempt in range(1, STARTS + 1):
        try:
            with _isolated():
                ray.init(
                    address="local",
                    include_dashboard=os.environ.get("UNDERTOW_DASHBOARD") != "0",
                    dashboard_host="127.0.0.1",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"env_vars": {**environment, **LOOPBACK}},
                    _system_config=SYSTEM,
                )
            return
        except Exception as error:  # Ray reports a start that takes too long by a bare Exception
            why = f"{type(error).__name__}: {str(error).strip() or 'no message'}".splitlines()[0]
        with contextlib.suppress(Exception):
            ray.shutdown()
        if attempt < STARTS:
            Console(stderr=True).print(Text(f"Ray did not start ({why}); trying once more", "yellow"), soft_wrap=True)
    raise ResourceError(
        f"Ray did not start on this machine: {why}. Check memory, disk, other load and {LOGS}, then "
        "run the same command again."
    )


def death() -> str:
    """What to tell the user if one of its vital processes has ended, or ""."""
    if _is_alive():
        return ""
    return (
        "the Ray that this run started on this machine has ended. Finished work is kept, and the same command goes "
        f"on from here. If nobody ended it, check memory and {LOGS}."
    )


def shut_down() -> None:
    """Stop it. If it has died, leave the rest to the end of this process: shutting it down would take 15 s."""
    if _is_alive():
        ray.shutdown()
    else:
        atexit.unregister(worker.shutdown)


def _is_alive() -> bool:
    node = worker._global_node
    return node is not None and not any(kind in VITAL for kind, _ in node.dead_processes())


@contextlib.contextmanager
def _isolated() -> Iterator[None]:
    """Have Ray start fewer processes, in process groups of their own, with every port on the loopback interface.

    A signal to the driver's group, as sent by `timeout` and supervisors, then reaches only the driver, which lets work
    in flight finish. ray.init has no option for any of these. It uses loopback by itself on desktop systems, where it
    expects no cluster; a `_node_ip_address` of 127.0.0.1 would be replaced by the machine's network address.
    """
    with (
        # No autoscaler: this machine is all there is. No log monitor: it reads logs for drivers that print them.
        patch.object(parameter, "RayParams", partial(parameter.RayParams, no_monitor=True, include_log_monitor="")),
        patch.object(services, "ConsolePopen", partial(services.ConsolePopen, process_group=0)),
        patch.object(ray_constants, "ENABLE_RAY_CLUSTER", False),
    ):
        yield
