"""Who works when: pools of members that share the cluster's CPUs and GPUs.

A pool grows while it has work and the cluster has room, and gives its members back when it has none
and another pool waits. Nothing with work is ever stopped, so on a small machine the stages take turns,
and on a large one they overlap. A unit whose member died goes to another one.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import ray

from pipeline.errors import Stopped

LINGER_SECONDS = 1.0  # a member that is idle for less may be about to get the next step's work
LIGHT_AT_ONCE = 4  # corpora, matrices and reports made at a time
DEATHS = 5  # of members at work on one unit, until it is the unit that counts as failed


@dataclass(frozen=True)
class Cost:
    cpus: float
    gpus: float

    def fits(self, free: "Cost") -> bool:
        return self.cpus <= free.cpus + 1e-9 and self.gpus <= free.gpus + 1e-9


@dataclass(eq=False)
class Member:
    """actor: has .work(function, *args), and .close() that returns once it has let go of what it held."""

    actor: Any
    busy: int = 0
    idle_since: float = field(default_factory=time.monotonic)


@dataclass(eq=False)
class Unit:
    """function(store, tool, *args), what waits for it, and how many members died at it."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    outcome: asyncio.Future[Any]
    deaths: int = 0


@dataclass(eq=False)
class Pool:
    """start() makes an actor; depth: units that a member works on at once; leaving: members being ended."""

    name: str
    cost: Cost
    limit: int
    depth: int
    start: Callable[[], Any]
    waiting: deque[Unit] = field(default_factory=deque)
    members: list[Member] = field(default_factory=list)
    leaving: list[Member] = field(default_factory=list)

    def idle(self, now: float) -> list[Member]:
        if self.waiting:
            return []
        return [m for m in self.members if not m.busy and now - m.idle_since >= LINGER_SECONDS]


class Pools:
    """All pools of a run, and the one place that decides who gets the next free CPU."""

    def __init__(self, total: Cost) -> None:
        self._total = total
        self._pools: dict[str, Pool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._light = asyncio.Semaphore(LIGHT_AT_ONCE)
        self._stopping = False

    def pool(self, name: str, make: Callable[[], Pool]) -> Pool:
        if name not in self._pools:
            self._pools[name] = make()
        return self._pools[name]

    async def run(self, pool: Pool, function: Callable[..., Any], *args: Any) -> Any:
        """The result of function(store, tool, *args), run by a member of the pool."""
        self._require_going()
        unit = Unit(function, args, asyncio.get_running_loop().create_future())
        pool.waiting.append(unit)
        self._dispatch()
        return await unit.outcome

    async def task(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """The result of function(*args), run as a Ray task that holds no CPU of the pools."""
        async with self._light:
            self._require_going()
            return await ray.remote(function).options(num_cpus=0, name=name, max_retries=DEATHS).remote(*args)

    def stop(self) -> None:
        """Take no more work: what waits, and what comes, raises Stopped; what members are at goes on."""
        self._stopping = True
        for pool in self._pools.values():
            while pool.waiting:
                _settle(pool.waiting.popleft().outcome, error=Stopped("the run is being stopped"))

    def _require_going(self) -> None:
        if self._stopping:
            raise Stopped("the run is being stopped")

    async def tend(self) -> None:
        """Give members back as they fall idle; runs beside the steps until cancelled."""
        while True:
            await asyncio.sleep(LINGER_SECONDS)
            self._dispatch()

    def queued(self) -> dict[str, tuple[int, int, int]]:
        """Pool name -> (members, units at work, units waiting)."""
        return {
            pool.name: (len(pool.members), sum(m.busy for m in pool.members), len(pool.waiting))
            for pool in self._pools.values()
        }

    async def close(self) -> None:
        """End every member that has no work, and wait for those that are ending; leave the rest to Ray."""
        for pool in self._pools.values():
            for member in [member for member in pool.members if not member.busy]:
                self._leave(pool, member)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _dispatch(self) -> None:
        for pool in self._pools.values():
            self._hand_out(pool)
            while pool.waiting and len(pool.members) < pool.limit and self._make_room(pool.cost):
                pool.members.append(Member(pool.start()))
                self._hand_out(pool)

    def _hand_out(self, pool: Pool) -> None:
        while pool.waiting and pool.members:
            member = min(pool.members, key=lambda m: m.busy)
            if member.busy >= pool.depth:
                return
            member.busy += 1
            self._spawn(self._await(pool, member, pool.waiting.popleft()))

    async def _await(self, pool: Pool, member: Member, unit: Unit) -> None:
        try:
            result = await member.actor.work.remote(unit.function, *unit.args)
        except ray.exceptions.RayActorError as error:
            if member in pool.members:
                pool.members.remove(member)
            self._died(pool, unit, error)
        except Exception as error:
            _settle(unit.outcome, error=error)
        else:
            _settle(unit.outcome, result=result)
        finally:
            member.busy -= 1
            member.idle_since = time.monotonic()
            self._dispatch()

    def _died(self, pool: Pool, unit: Unit, error: ray.exceptions.RayActorError) -> None:
        unit.deaths += 1
        if self._stopping:
            _settle(unit.outcome, error=Stopped("the run is being stopped"))
        elif error.actor_init_failed or unit.deaths >= DEATHS:
            _settle(unit.outcome, error=error)
        else:
            pool.waiting.appendleft(unit)

    def _make_room(self, cost: Cost) -> bool:
        """Whether a member of that cost fits now. Where it does not, idle members of other pools are ended first."""
        now = time.monotonic()
        for pool in self._pools.values():
            for member in pool.idle(now):
                if cost.fits(self._free(counting_leaving=False)):
                    break
                self._leave(pool, member)
        return cost.fits(self._free(counting_leaving=True))

    def _leave(self, pool: Pool, member: Member) -> None:
        pool.members.remove(member)
        pool.leaving.append(member)
        self._spawn(self._end(pool, member))

    async def _end(self, pool: Pool, member: Member) -> None:
        # The handle lives until close() has returned: an actor whose last handle goes is killed by Ray.
        with contextlib.suppress(ray.exceptions.RayActorError):
            await member.actor.close.remote()
        ray.kill(member.actor)
        pool.leaving.remove(member)
        self._dispatch()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _free(self, *, counting_leaving: bool) -> Cost:
        used = [
            (pool.cost, len(pool.members) + (len(pool.leaving) if counting_leaving else 0))
            for pool in self._pools.values()
        ]
        return Cost(
            self._total.cpus - sum(cost.cpus * count for cost, count in used),
            self._total.gpus - sum(cost.gpus * count for cost, count in used),
        )


def _settle(outcome: "asyncio.Future[Any]", result: Any = None, error: BaseException | None = None) -> None:
    if outcome.cancelled():
        return
    if error is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(error)
