"""The scheduler of units: pools of workers that share the cluster's CPUs and GPUs.

A pool grows while work waits in it and the cluster has room, up to its largest size. It shrinks to its smallest
size when workers have been idle for a while, and further, at once, when another pool waits for room.
Nothing with work is ever stopped, so on a small machine the stages take turns, and on a large one they
overlap. A unit whose worker died goes to another one.

The cluster may grow and shrink as well: `demand` says what an autoscaler is to provide.
"""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray

from pipeline.core.errors import Stopped

RECLAIM_AFTER_SECONDS = 1.0  # a worker that is idle for less may be about to get the next step's work
SHUT_DOWN_AFTER_SECONDS = 60.0  # a worker that is idle for longer is given back although nobody waits for its room
TASKS_IN_FLIGHT = 4  # corpora, matrices and reports made at a time
MAX_ATTEMPTS = 5  # at one unit, each of which ended with the death of a worker, until the unit counts as failed


@dataclass(frozen=True)
class ResourceRequest:
    cpus: float
    gpus: float

    def fits(self, free: "ResourceRequest") -> bool:
        return self.cpus <= free.cpus + 1e-9 and self.gpus <= free.gpus + 1e-9


@dataclass(eq=False)
class Worker:
    """actor: has .work(function, *args), and .close() that returns once it has let go of what it held."""

    actor: Any
    busy: int = 0
    idle_since: float = field(default_factory=time.monotonic)


class UnitCallbacks(Protocol):
    """Called when a worker starts a unit, and when one dies at it."""

    def started(self) -> None: ...

    def died(self) -> None: ...


@dataclass(frozen=True)
class WorkItem:
    """One unit of work: function(store, tool, *args), or without a worker function(*args). name: for the dashboard."""

    name: str
    callbacks: UnitCallbacks
    function: Callable[..., Any]
    args: tuple[Any, ...]


@dataclass(eq=False)
class QueuedItem:
    """A unit in a pool, the future of who waits for it, and how many workers died at it."""

    item: WorkItem
    outcome: asyncio.Future[Any]
    deaths: int = 0


@dataclass(eq=False)
class Pool:
    """Workers of one kind. role: engine or trainer; family: whose weights they hold, or "".

    request: of a worker, in `bundles` equal ones, each of which must fit a machine. min_size, max_size: workers.
    max_in_flight: units that a worker works on at once. start(name): makes an actor. draining: workers being ended.
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
    waiting: deque[QueuedItem] = field(default_factory=deque)
    workers: list[Worker] = field(default_factory=list)
    draining: list[Worker] = field(default_factory=list)

    @property
    def kind(self) -> tuple[str, str]:
        return self.role, self.family

    def idle(self, seconds: float) -> list[Worker]:
        """Workers that have had nothing to do for so long."""
        if self.waiting:
            return []
        now = time.monotonic()
        return [worker for worker in self.workers if not worker.busy and now - worker.idle_since >= seconds]

    def demand(self) -> int:
        """Workers that its work could use."""
        units = len(self.waiting) + sum(worker.busy for worker in self.workers)
        return min(self.max_size, max(-(-units // self.max_in_flight), min(self.min_size, len(self.workers))))


class Pools:
    """All pools of a run, and the one place that decides who gets the next free CPU."""

    def __init__(self, total: ResourceRequest) -> None:
        self.total = total
        self._pools: dict[str, Pool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._task_slots = asyncio.Semaphore(TASKS_IN_FLIGHT)
        self._stopping = False
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._deaths: Counter[tuple[str, str]] = Counter()

    def pool(self, name: str, make: Callable[[], Pool]) -> Pool:
        if name not in self._pools:
            self._pools[name] = make()
        return self._pools[name]

    async def run(self, pool: Pool, item: WorkItem) -> Any:
        """The result of a unit, worked on by a worker of the pool; cancelled, it leaves the queue."""
        self._require_going()
        pool = self._pools.setdefault(pool.name, pool)  # it may have been forgotten since it was asked for
        unit = QueuedItem(item, asyncio.get_running_loop().create_future())
        pool.waiting.append(unit)
        self._dispatch(pool)
        try:
            return await unit.outcome
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):  # a worker may be at it
                pool.waiting.remove(unit)
            raise

    async def task(self, item: WorkItem) -> Any:
        """The result of a unit without a worker: a Ray task that holds no CPU of the pools."""
        async with self._task_slots:
            self._require_going()
            item.callbacks.started()
            remote = ray.remote(item.function).options(num_cpus=0, name=item.name, max_retries=MAX_ATTEMPTS)
            return await remote.remote(*item.args)

    def stop(self) -> None:
        """Take no more work: what waits, and what comes, raises Stopped; what workers are at goes on."""
        self._stopping = True
        for pool in self._pools.values():
            while pool.waiting:
                _resolve(pool.waiting.popleft().outcome, error=Stopped("the run is being stopped"))

    def _require_going(self) -> None:
        if self._stopping:
            raise Stopped("the run is being stopped")

    async def autoscale(self) -> None:
        """Give workers back as they fall idle; runs beside the steps until cancelled."""
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
        # Those that had workers once stay in view, with nothing in them.
        found = {kind: (0, 0, 0, self._deaths[kind]) for kind in self._numbers}
        for pool in self._pools.values():
            workers, busy, waiting, deaths = found.get(pool.kind, (0, 0, 0, 0))
            busy += sum(worker.busy for worker in pool.workers)
            found[pool.kind] = (workers + len(pool.workers), busy, waiting + len(pool.waiting), deaths)
        return found

    def demand(self) -> Counter[ResourceRequest]:
        """Resource request of a worker, or of a bundle of one -> how many of them the work could use now."""
        found: Counter[ResourceRequest] = Counter()
        for pool in self._pools.values():
            bundle = ResourceRequest(pool.request.cpus / pool.bundles, pool.request.gpus / pool.bundles)
            found[bundle] += pool.demand() * pool.bundles
        return +found

    async def close(self) -> None:
        """End every worker that has no work, and wait for those that are ending; leave the rest to Ray."""
        for pool in self._pools.values():
            for worker in [worker for worker in pool.workers if not worker.busy]:
                self._drain(pool, worker)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _dispatch(self, only: Pool | None = None) -> None:
        """Hand waiting units to workers, and start workers for what still waits; of one pool, or of all."""
        for pool in [only] if only else list(self._pools.values()):
            self._assign(pool)
            while pool.waiting and len(pool.workers) < pool.max_size and self._reclaim_idle(pool.request):
                pool.workers.append(Worker(pool.start(self._next_name(pool))))
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
            item = unit.item
            result = await worker.actor.work.options(name=item.name).remote(item.function, *item.args)
        except ray.exceptions.RayActorError as error:
            if worker in pool.workers:
                pool.workers.remove(worker)
                self._deaths[pool.kind] += 1
            self._died(pool, unit, error)
        except Exception as error:
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
            return  # nobody waits for it any more
        if self._stopping:
            _resolve(unit.outcome, error=Stopped("the run is being stopped"))
        elif error.actor_init_failed or unit.deaths >= MAX_ATTEMPTS:
            _resolve(unit.outcome, error=error)
        else:
            unit.item.callbacks.died()
            pool.waiting.appendleft(unit)

    def _reclaim_idle(self, request: ResourceRequest) -> bool:
        """Whether a worker of that request fits now. Where it does not, idle workers of other pools are ended first."""
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
        # The handle lives until close() has returned: an actor whose last handle goes is killed by Ray.
        with contextlib.suppress(ray.exceptions.RayActorError):
            await worker.actor.close.remote()
        ray.kill(worker.actor)
        pool.draining.remove(worker)
        self._dispatch()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
