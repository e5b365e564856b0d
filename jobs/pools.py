"""Schedules units on pools of workers that share the cluster's CPUs and GPUs.

A pool grows to max_size while work waits in it and the cluster has room. It shrinks to min_size when workers have
been idle for a while, and at once, to 0 if necessary, when another pool needs their resources. Busy workers are
never stopped, so stages take turns on a small machine and overlap on a large one. If a worker dies, another one
takes its unit.

The cluster may grow and shrink as well: `demand` is what an autoscaler should provide.
"""

import asyncio
import contextlib
import functools
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray

from jobs.call_thread import CallThread
from pipeline.core.errors import Stopped

RECLAIM_AFTER_SECONDS = 1.0  # a worker idle for less may be about to get the next step's work
SHUT_DOWN_AFTER_SECONDS = 60.0  # a worker idle for longer is ended even if no pool needs its resources
TASKS_IN_FLIGHT = 4  # corpora, matrices and reports made at once; two on a cluster of two CPUs
MAX_ATTEMPTS = 5  # a unit has failed once this many workers have died on it


@dataclass(frozen=True)
class ResourceRequest:
    cpus: float
    gpus: float

    def fits(self, free: "ResourceRequest") -> bool:
        return self.cpus <= free.cpus + 1e-9 and self.gpus <= free.gpus + 1e-9


@dataclass(eq=False)
class Worker:
    """actor: the start of an actor with .work(function, *args), and .close(), which returns once its resources are
    free."""

    actor: asyncio.Task[Any]
    busy: int = 0
    idle_since: float = field(default_factory=time.monotonic)


class UnitCallbacks(Protocol):
    """Called when a worker starts a unit, and when one dies on it."""

    def started(self) -> None: ...

    def died(self) -> None: ...


@dataclass(frozen=True)
class WorkItem:
    """One unit of work: function(store, tool, *args), or function(*args) without a worker. name: for the dashboard."""

    name: str
    callbacks: UnitCallbacks
    function: Callable[..., Any]
    args: tuple[Any, ...]


@dataclass(eq=False)
class QueuedItem:
    """A unit in a pool, the future of its result, and how many workers have died on it."""

    item: WorkItem
    outcome: asyncio.Future[Any]
    deaths: int = 0


@dataclass(eq=False)
class Pool:
    """Workers of one kind. role: engine or trainer; family: whose weights they hold, or "".

    request: resources of a worker, in `bundles` equal parts, each of which must fit a machine. min_size, max_size:
    number of workers. max_in_flight: concurrent units per worker. start(name): starts an actor; ended(actor): called
    when that actor is gone, once per unit that it had; both may wait for Ray. draining: workers that are shutting down.
    """

    name: str
    role: str
    family: str
    request: ResourceRequest
    min_size: int
    max_size: int
    max_in_flight: int
    start: Callable[[str], Any]
    bundles: int = 1
    ended: Callable[[Any], None] = lambda actor: None
    waiting: deque[QueuedItem] = field(default_factory=deque)
    workers: list[Worker] = field(default_factory=list)
    draining: list[Worker] = field(default_factory=list)

    @property
    def kind(self) -> tuple[str, str]:
        return self.role, self.family

    def idle(self, seconds: float) -> list[Worker]:
        """Workers that have been idle for this long."""
        if self.waiting:
            return []
        now = time.monotonic()
        return [worker for worker in self.workers if not worker.busy and now - worker.idle_since >= seconds]

    def demand(self) -> int:
        """The number of workers that its units could use."""
        units = len(self.waiting) + sum(worker.busy for worker in self.workers)
        return min(self.max_size, max(-(-units // self.max_in_flight), min(self.min_size, len(self.workers))))


class Pools:
    """All pools of a run. Only this class decides which pool gets free CPUs and GPUs."""

    def __init__(self, total: ResourceRequest) -> None:
        self.total = total
        self._pools: dict[str, Pool] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._task_slots = asyncio.Semaphore(min(TASKS_IN_FLIGHT, max(2, int(total.cpus))))
        self._stopping = False
        self._ray = CallThread()
        self._remote = functools.cache(ray.remote)  # else every task would export its function to Ray's head again
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._deaths: Counter[tuple[str, str]] = Counter()

    def pool(self, name: str, make: Callable[[], Pool]) -> Pool:
        if name not in self._pools:
            self._pools[name] = make()
        return self._pools[name]

    async def run(self, pool: Pool, item: WorkItem) -> Any:
        """The result of a unit from a worker of the pool. Cancelling removes the unit from the queue."""
        self._require_going()
        pool = self._pools.setdefault(pool.name, pool)  # autoscale may have dropped it since
        unit = QueuedItem(item, asyncio.get_running_loop().create_future())
        pool.waiting.append(unit)
        self._dispatch(pool)
        try:
            return await unit.outcome
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):  # a worker may have it already
                pool.waiting.remove(unit)
            raise

    async def task(self, item: WorkItem) -> Any:
        """The result of a unit without a worker: a Ray task that holds no CPU of the pools."""
        async with self._task_slots:
            self._require_going()
            item.callbacks.started()
            remote = self._remote(item.function).options(num_cpus=0, name=item.name, max_retries=MAX_ATTEMPTS)
            return await (await self._ray.call(remote.remote, *item.args))

    def stop(self) -> None:
        """Take no more work: waiting and new units raise Stopped; units in progress go on."""
        self._stopping = True
        for pool in self._pools.values():
            while pool.waiting:
                _resolve(pool.waiting.popleft().outcome, error=Stopped("the run is being stopped"))

    def _require_going(self) -> None:
        if self._stopping:
            raise Stopped("the run is being stopped")

    async def autoscale(self) -> None:
        """Shut down idle workers until cancelled."""
        while True:
            await asyncio.sleep(RECLAIM_AFTER_SECONDS)
            for pool in self._pools.values():
                for worker in pool.idle(SHUT_DOWN_AFTER_SECONDS)[: max(0, len(pool.workers) - pool.min_size)]:
                    self._drain(pool, worker)
            self._pools = {
                name: pool for name, pool in self._pools.items() if pool.waiting or pool.workers or pool.draining
            }
            self._dispatch()

    def stats(self) -> dict[tuple[str, str], tuple[int, int, int, int]]:
        """(role, family) -> (workers, units at work, units waiting, workers that died so far)."""
        # Pools that once had workers are still reported, with zeros.
        found = {kind: (0, 0, 0, self._deaths[kind]) for kind in self._numbers}
        for pool in self._pools.values():
            workers, busy, waiting, deaths = found.get(pool.kind, (0, 0, 0, 0))
            busy += sum(worker.busy for worker in pool.workers)
            found[pool.kind] = (workers + len(pool.workers), busy, waiting + len(pool.waiting), deaths)
        return found

    def demand(self) -> Counter[ResourceRequest]:
        """Resource request of a worker, or of a bundle of one -> how many of these the work could use now."""
        found: Counter[ResourceRequest] = Counter()
        for pool in self._pools.values():
            bundle = ResourceRequest(pool.request.cpus / pool.bundles, pool.request.gpus / pool.bundles)
            found[bundle] += pool.demand() * pool.bundles
        return +found

    async def close(self) -> None:
        """Shut down idle workers and wait for all that are shutting down; leave the rest to Ray."""
        for pool in self._pools.values():
            for worker in [worker for worker in pool.workers if not worker.busy]:
                self._drain(pool, worker)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _dispatch(self, only: Pool | None = None) -> None:
        """Assign waiting units to workers and start workers for the remaining ones, in one pool or in all."""
        for pool in [only] if only else list(self._pools.values()):
            self._assign(pool)
            while pool.waiting and len(pool.workers) < pool.max_size and self._reclaim_idle(pool.request):
                pool.workers.append(Worker(self._spawn(self._ray.call(pool.start, self._next_name(pool)))))
                self._assign(pool)

    def _next_name(self, pool: Pool) -> str:
        self._numbers[pool.kind] += 1
        return ":".join([*filter(None, pool.kind), str(self._numbers[pool.kind])])

    def _assign(self, pool: Pool) -> None:
        while pool.waiting and pool.workers:
            worker = min(pool.workers, key=lambda worker: worker.busy)
            if worker.busy >= pool.max_in_flight:
                return
            worker.busy += 1
            unit = pool.waiting.popleft()
            unit.item.callbacks.started()
            self._spawn(self._await(pool, worker, unit))

    async def _await(self, pool: Pool, worker: Worker, unit: QueuedItem) -> None:
        try:
            item, actor = unit.item, await worker.actor
            result = await actor.work.options(name=item.name).remote(item.function, *item.args)
        except ray.exceptions.RayActorError as error:
            if worker in pool.workers:
                pool.workers.remove(worker)
                self._deaths[pool.kind] += 1
            self._spawn(self._ray.call(pool.ended, await worker.actor))
            self._died(pool, unit, error)
        except Exception as error:
            if worker.actor.exception() and worker in pool.workers:  # it never started
                pool.workers.remove(worker)
            _resolve(unit.outcome, error=error)
        else:
            _resolve(unit.outcome, result=result)
        finally:
            worker.busy -= 1
            worker.idle_since = time.monotonic()
            self._dispatch(pool)

    def _died(self, pool: Pool, unit: QueuedItem, error: ray.exceptions.RayActorError) -> None:
        unit.deaths += 1
        if unit.outcome.cancelled():
            return  # nobody awaits it any more
        if self._stopping:
            _resolve(unit.outcome, error=Stopped("the run is being stopped"))
        elif error.actor_init_failed or unit.deaths >= MAX_ATTEMPTS:
            _resolve(unit.outcome, error=error)
        else:
            unit.item.callbacks.died()
            pool.waiting.appendleft(unit)

    def _reclaim_idle(self, request: ResourceRequest) -> bool:
        """Whether a worker with this request fits now. If it does not, shut down idle workers of other pools."""
        for pool in self._pools.values():
            for worker in pool.idle(RECLAIM_AFTER_SECONDS):
                if request.fits(self._free(counting_draining=False)):
                    break
                self._drain(pool, worker)
        return request.fits(self._free(counting_draining=True))

    def _drain(self, pool: Pool, worker: Worker) -> None:
        pool.workers.remove(worker)
        pool.draining.append(worker)
        self._spawn(self._shut_down(pool, worker))

    async def _shut_down(self, pool: Pool, worker: Worker) -> None:
        # Keep the handle until close() has returned: Ray kills an actor without handles.
        actor = await worker.actor
        with contextlib.suppress(ray.exceptions.RayActorError):
            await actor.close.remote()
        await self._ray.call(ray.kill, actor)
        await self._ray.call(pool.ended, actor)
        pool.draining.remove(worker)
        self._dispatch()

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _free(self, *, counting_draining: bool) -> ResourceRequest:
        used = [
            (pool.request, len(pool.workers) + (len(pool.draining) if counting_draining else 0))
            for pool in self._pools.values()
        ]
        return ResourceRequest(
            self.total.cpus - sum(request.cpus * count for request, count in used),
            self.total.gpus - sum(request.gpus * count for request, count in used),
        )


def _resolve(outcome: "asyncio.Future[Any]", result: Any = None, error: BaseException | None = None) -> None:
    if outcome.cancelled():
        return
    if error is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(error)
