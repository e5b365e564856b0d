"""The Ray cluster of a run: started here or joined, checked for size, and followed as it grows and shrinks."""

import asyncio
import contextlib
import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping

import ray
from ray.autoscaler.sdk import request_resources

from jobs import local_ray
from jobs.job import Job
from jobs.pools import Pools, ResourceRequest
from pipeline.core.errors import ResourceError
from pipeline.study.schema import Study

# Several processes share the cores; each uses only those that Ray gave it.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
WAIT_SECONDS = 900.0  # an autoscaler may need this long to start the first GPU machine
REACH_SECONDS = 10.0  # for the head of a cluster to accept a connection
ATTEMPTS = "1"  # of Ray to get an answer from it, of 40 s; with its own 20 a wrong port costs a user 13 minutes
SYNC_SECONDS = 2.0  # between two queries of the cluster's resources


class Cluster:
    """elastic: whether machines may come and go, as on any cluster that was not started here."""

    def __init__(self, *, elastic: bool) -> None:
        self._elastic = elastic
        self._asked: Counter[ResourceRequest] = Counter()

    def total(self) -> ResourceRequest:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        return ResourceRequest(resources.get("CPU", 0.0), resources.get("GPU", 0.0))

    async def wait_for_resources(self, job: Job, say: Callable[[str], None]) -> None:
        """Return once one engine and one training group fit, or one worker of an experiment.

        Raises ResourceError if they do not: at once on this machine, after WAIT_SECONDS on a cluster.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (WAIT_SECONDS if self._elastic else 0.0)
        needs = _needs(job)
        reported = ""
        while shortfall := _shortfall(needs, self.total()):
            if loop.time() >= deadline:
                raise ResourceError(f"{shortfall}: ask for less, or start a larger cluster")
            if shortfall != reported:
                say(f"{shortfall}; waiting up to {WAIT_SECONDS / 60:.0f} minutes for machines to come")
                reported = shortfall
            wanted: Counter[ResourceRequest] = Counter()
            for part, parts in needs.values():
                wanted[part] += parts
            self._ask(wanted)
            await asyncio.sleep(SYNC_SECONDS)

    async def sync(self, pools: Pools) -> None:
        """Until cancelled, give the pools the cluster's resources, and request from an autoscaler what they could use.

        The size of a Ray that was started here is fixed. Raises ResourceError once that Ray has died.
        """
        while True:
            if self._elastic:
                with contextlib.suppress(ray.exceptions.RayError):  # the next query may succeed
                    pools.total = await asyncio.to_thread(self.total)
                    await asyncio.to_thread(self._ask, pools.demand())
            elif death := self.death():
                raise ResourceError(death)
            await asyncio.sleep(SYNC_SECONDS)

    def death(self) -> str:
        """Why nothing can run any more, if the Ray that was started here has died, or ""."""
        return "" if self._elastic else local_ray.death()

    def shut_down(self) -> None:
        """Disconnect from the cluster, or stop the Ray that was started here."""
        if self._elastic:
            ray.shutdown()
        else:
            local_ray.shut_down()

    def release(self) -> None:
        """Withdraw all requests, so that idle machines are removed."""
        with contextlib.suppress(Exception):  # the run may be ending because the head is gone
            self._ask(Counter())

    def _ask(self, wanted: Counter[ResourceRequest]) -> None:
        if self._elastic and wanted != self._asked:
            bundle = {cost: {"CPU": cost.cpus} | ({"GPU": cost.gpus} if cost.gpus else {}) for cost in wanted}
            request_resources(bundles=[bundle[cost] for cost, count in wanted.items() for _ in range(count)])
            self._asked = wanted.copy()


def join(address: str | None) -> Cluster:
    """Start Ray on this machine, or join a cluster. Raises ResourceError if there is none at the address.

    address: "local" starts one whatever the environment says; "auto" finds the one that this machine is part of.
    """
    named = address is not None or "RAY_ADDRESS" in os.environ or "RAY_JOB_ID" in os.environ
    if address == "local" or not named:
        local_ray.start(ENVIRONMENT)
        return Cluster(elastic=False)
    address = address or os.environ.get("RAY_ADDRESS") or "auto"
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", ATTEMPTS)
    try:
        _reach(address)
        ray.init(address=address, log_to_driver=False, runtime_env={"env_vars": ENVIRONMENT})
    except (OSError, OverflowError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ResourceError(
            f"cannot reach a Ray cluster at {address}: {why}. Name its head as HOST:PORT, with the port of its GCS "
            "(6379 unless `ray start` was told another), and not that of the dashboard"
        ) from None
    return Cluster(elastic=True)


def _reach(address: str) -> None:
    """Raise OSError unless something listens at HOST:PORT. Ray itself would keep trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()


def require_memory(job: Job) -> None:
    """Raise ResourceError if this machine has less memory than one engine's cache is configured to use."""
    engines = job.resources.engines
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    memory = resources.get("memory", 0.0)
    if isinstance(job, Study) and job.engine == "vllm" and not engines.gpus and engines.memory_gib * 2**30 > memory:
        raise ResourceError(
            f"resources.engines.memory_gib is {engines.memory_gib:g} GiB and Ray sees {memory / 2**30:.1f} GiB of "
            "memory for its workers: lower it, or use a larger machine"
        )


def _needs(job: Job) -> dict[str, tuple[ResourceRequest, int]]:
    """The least that a run needs at once: setting -> (request of a part, number of parts)."""
    engines, training, compute = job.resources.engines, job.resources.training, job.resources.compute
    if not isinstance(job, Study):
        return {"compute": (ResourceRequest(compute.cpus, compute.gpus), 1)}
    return {
        "engines": (ResourceRequest(engines.cpus, engines.gpus), 1),
        "training": (ResourceRequest(training.cpus, training.gpus), training.workers),
    }


def _shortfall(needs: Mapping[str, tuple[ResourceRequest, int]], total: ResourceRequest) -> str:
    """What does not fit, as a message, or ""."""
    for name, (part, parts) in needs.items():
        cost = ResourceRequest(part.cpus * parts, part.gpus * parts)
        if not cost.fits(total):
            return (
                f"resources.{name} asks for {cost.cpus:g} CPUs and {cost.gpus:g} GPUs at once, and the cluster has "
                f"{total.cpus:g} and {total.gpus:g}"
            )
    return ""
