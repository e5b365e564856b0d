"""Who works when: pools of members that share the cluster's CPUs and GPUs.

A pool grows while work waits in it and the cluster has room, up to its most members, and shrinks to its
least when members have been idle for a while; where another pool waits for room, at once and further.
Nothing with work is ever stopped, so on a small machine the stages take turns, and on a large one they
overlap. A unit whose member died goes to another one.

The cluster may grow and shrink as well: `wanted` says what an autoscaler is to provide.
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

LINGER_SECONDS = 1.0  # a member that is idle for less may be about to get the next step's work
IDLE_SECONDS = 60.0  # a member that is idle for longer is given back although nobody waits for its room
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


class Told(Protocol):
    """Is told when a member takes a unit up, and when one dies at it."""

    def begun(self) -> None: ...

    def died(self) -> None: ...


@dataclass(frozen=True)
class Work:
    """One unit of work: function(store, tool, *args), or without a member function(*args). name: for the dashboard."""

    name: str
    told: Told
    function: Callable[..., Any]
    args: tuple[Any, ...]


@dataclass(eq=False)
class Unit:
    """Work in a pool, what waits for it, and how many members died at it."""

    work: Work
    outcome: asyncio.Future[Any]
    deaths: int = 0


@dataclass(eq=False)
class Pool:
    """Members of one kind. role: engine or trainer; family: whose weights they hold, or "".

    cost: of a member, in `parts` equal ones, each of which must fit a machine. least, most: members; depth: units that
    a member works on at once; start(name): makes an actor; leaving: members being ended.
    """

    name: str
    role: str
    family: str
    cost: Cost
    least: int
    most: int
    depth: int
    start: Callable[[str], Any]
    parts: int = 1
    waiting: deque[Unit] = field(default_factory=deque)
    members: list[Member] = field(default_factory=list)
    leaving: list[Member] = field(default_factory=list)

    @property
    def kind(self) -> tuple[str, str]:
        return self.role, self.family

    def idle(self, seconds: float) -> list[Member]:
        """Members that have had nothing to do for so long."""
        if self.waiting:
            return []
        now = time.monotonic()
        return [m for m in self.members if not m.busy and now - m.idle_since >= seconds]

    def wanted(self) -> int:
        """Members that its work could use."""
        units = len(self.waiting) + sum(member.busy for member in self.members)
        return min(self.most, max(-(-units // self.depth), min(self.least, len(self.members))))


class Pools:
    """All pools of a run, and the one place that decides who gets the next free CPU."""

    def __init__(self, total: Cost) -> None:
        self.total = total
        self._pools: dict[str, Pool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._light = asyncio.Semaphore(LIGHT_AT_ONCE)
        self._stopping = False
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._deaths: Counter[tuple[str, str]] = Counter()

    def pool(self, name: str, make: Callable[[], Pool]) -> Pool:
        if name not in self._pools:
            self._pools[name] = make()
        return self._pools[name]

    async def run(self, pool: Pool, work: Work) -> Any:
        """The result of a unit, worked on by a member of the pool; cancelled, it leaves the queue."""
        self._require_going()
        pool = self._pools.setdefault(pool.name, pool)  # it may have been forgotten since it was asked for
        unit = Unit(work, asyncio.get_running_loop().create_future())
        pool.waiting.append(unit)
        self._dispatch(pool)
        try:
            return await unit.outcome
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):  # a member may be at it
                pool.waiting.remove(unit)
            raise

    async def task(self, work: Work) -> Any:
        """The result of a unit without a member: a Ray task that holds no CPU of the pools."""
        async with self._light:
            self._require_going()
            work.told.begun()
            remote = ray.remote(work.function).options(num_cpus=0, name=work.name, max_retries=DEATHS)
            return await remote.remote(*work.args)

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
            for pool in self._pools.values():
                for member in pool.idle(IDLE_SECONDS)[: max(0, len(pool.members) - pool.least)]:
                    self._leave(pool, member)
            self._pools = {
                name: pool for name, pool in self._pools.items() if pool.waiting or pool.members or pool.leaving
            }
            self._dispatch()

    def queued(self) -> dict[tuple[str, str], tuple[int, int, int, int]]:
        """(role, family) -> (members, units at work, units waiting, members that died so far)."""
        # Those that had members once stay in view, with nothing in them.
        found = {kind: (0, 0, 0, self._deaths[kind]) for kind in self._numbers}
        for pool in self._pools.values():
            members, busy, waiting, deaths = found.get(pool.kind, (0, 0, 0, 0))
            busy += sum(member.busy for member in pool.members)
            found[pool.kind] = (members + len(pool.members), busy, waiting + len(pool.waiting), deaths)
        return found

    def wanted(self) -> Counter[Cost]:
        """Cost of a member, or of a part of one -> how many of them the work could use now."""
        found: Counter[Cost] = Counter()
        for pool in self._pools.values():
            part = Cost(pool.cost.cpus / pool.parts, pool.cost.gpus / pool.parts)
            found[part] += pool.wanted() * pool.parts
        return +found

    async def close(self) -> None:
        """End every member that has no work, and wait for those that are ending; leave the rest to Ray."""
        for pool in self._pools.values():
            for member in [member for member in pool.members if not member.busy]:
                self._leave(pool, member)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _dispatch(self, only: Pool | None = None) -> None:
        """Hand waiting units to members, and start members for what still waits; of one pool, or of all."""
        for pool in [only] if only else list(self._pools.values()):
            self._hand_out(pool)
            while pool.waiting and len(pool.members) < pool.most and self._make_room(pool.cost):
                pool.members.append(Member(pool.start(self._next_name(pool))))
                self._hand_out(pool)

    def _next_name(self, pool: Pool) -> str:
        self._numbers[pool.kind] += 1
        return ":".join([*filter(None, pool.kind), str(self._numbers[pool.kind])])

    def _hand_out(self, pool: Pool) -> None:
        while pool.waiting and pool.members:
            member = min(pool.members, key=lambda m: m.busy)
            if member.busy >= pool.depth:
                return
            member.busy += 1
            unit = pool.waiting.popleft()
            unit.work.told.begun()
            self._spawn(self._await(pool, member, unit))

    async def _await(self, pool: Pool, member: Member, unit: Unit) -> None:
        try:
            work = unit.work
            result = await member.actor.work.options(name=work.name).remote(work.function, *work.args)
        except ray.exceptions.RayActorError as error:
            if member in pool.members:
                pool.members.remove(member)
                self._deaths[pool.kind] += 1
            self._died(pool, unit, error)
        except Exception as error:
            _settle(unit.outcome, error=error)
        else:
            _settle(unit.outcome, result=result)
        finally:
            member.busy -= 1
            member.idle_since = time.monotonic()
            self._dispatch(pool)

    def _died(self, pool: Pool, unit: Unit, error: ray.exceptions.RayActorError) -> None:
        unit.deaths += 1
        if unit.outcome.cancelled():
            return  # nobody waits for it any more
        if self._stopping:
            _settle(unit.outcome, error=Stopped("the run is being stopped"))
        elif error.actor_init_failed or unit.deaths >= DEATHS:
            _settle(unit.outcome, error=error)
        else:
            unit.work.told.died()
            pool.waiting.appendleft(unit)

    def _make_room(self, cost: Cost) -> bool:
        """Whether a member of that cost fits now. Where it does not, idle members of other pools are ended first."""
        for pool in self._pools.values():
            for member in pool.idle(LINGER_SECONDS):
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
            self.total.cpus - sum(cost.cpus * count for cost, count in used),
            self.total.gpus - sum(cost.gpus * count for cost, count in used),
        )


def _settle(outcome: "asyncio.Future[Any]", result: Any = None, error: BaseException | None = None) -> None:
    if outcome.cancelled():
        return
    if error is None:
        outcome.set_result(result)
    else:
        outcome.set_exception(error)
