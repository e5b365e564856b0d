"""Pools under real Ray, with workers that only wait: they grow with their queue and shrink when it is gone."""

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import pytest
import ray

from jobs import pools as pools_
from jobs.pools import Pool, Pools, ResourceRequest, WorkItem

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


class Waiter:
    """A worker: does what it is told, with nothing."""

    def work(self, function: Callable[..., object], *args: object) -> object:
        return function(*args)

    def close(self) -> None: ...


class Counted:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def started(self) -> None:
        self.counts["started"] += 1

    def died(self) -> None:
        self.counts["died"] += 1


def pool(name: str, *, min_size: int = 0, max_size: int = 3, max_in_flight: int = 1, cpus: float = 1) -> Pool:
    def start(actor: str) -> object:
        return ray.remote(Waiter).options(name=actor, num_cpus=0, max_concurrency=max_in_flight).remote()

    return Pool(name, "engine", name, ResourceRequest(cpus, 0), min_size, max_size, max_in_flight, start)


def nap(seconds: float) -> str:
    time.sleep(seconds)
    return "rested"


def run(scenario: Callable[[Pools], Awaitable[None]], cpus: float = 4) -> None:
    async def beside() -> None:
        pools = Pools(ResourceRequest(cpus, 0))
        tending = asyncio.create_task(pools.autoscale())
        try:
            await scenario(pools)
        finally:
            tending.cancel()
            await pools.close()

    asyncio.run(beside())


def sizes(pools: Pools) -> dict[str, int]:
    return {family: workers for (_, family), (workers, *_) in pools.stats().items()}


async def until(condition: Callable[[], bool]) -> None:
    """Return once it holds. Raises TimeoutError."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.05)


def works(pools: Pools, pool: Pool, count: int, seconds: float, events: Counted) -> list[asyncio.Task[object]]:
    return [
        asyncio.create_task(pools.run(pool, WorkItem("nap", events, nap, (seconds,))))  # type: ignore[arg-type]
        for _ in range(count)
    ]


def test_a_pool_grows_with_its_queue_up_to_its_largest_size_and_says_what_it_wants() -> None:
    async def scenario(pools: Pools) -> None:
        events, one = Counted(), pool("a", max_size=3, max_in_flight=2)
        naps = works(pools, one, 9, 0.3, events)
        await asyncio.sleep(0)
        assert pools.stats() == {("engine", "a"): (3, 6, 3, 0)}
        assert pools.demand() == {ResourceRequest(1, 0): 3}
        assert await asyncio.gather(*naps) == ["rested"] * 9
        assert events.counts == {"started": 9}

    run(scenario)


def test_it_starts_no_more_than_the_cluster_holds_and_more_when_the_cluster_grows() -> None:
    async def scenario(pools: Pools) -> None:
        naps = works(pools, pool("b"), 3, 3.0, Counted())
        await asyncio.sleep(0)
        assert pools.stats()["engine", "b"][0] == 1
        assert pools.demand() == {ResourceRequest(1, 0): 3}, "an autoscaler is to bring the others"
        pools.total = ResourceRequest(2, 0)
        await until(lambda: pools.stats()["engine", "b"][0] == 2)
        await asyncio.gather(*naps)

    run(scenario, cpus=1)


def test_idle_workers_go_down_to_the_smallest_size_of_their_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools_, "SHUT_DOWN_AFTER_SECONDS", 1.0)

    async def scenario(pools: Pools) -> None:
        kept, gone = pool("kept", min_size=1, max_size=2), pool("gone", max_size=2)
        await asyncio.gather(*works(pools, kept, 2, 0.1, Counted()), *works(pools, gone, 2, 0.1, Counted()))
        await until(lambda: sizes(pools) == {"kept": 1, "gone": 0})

    run(scenario)


def test_an_idle_worker_makes_room_for_another_pool_even_below_the_smallest_size() -> None:
    async def scenario(pools: Pools) -> None:
        await asyncio.gather(*works(pools, pool("first", min_size=1), 1, 0.1, Counted()))
        assert await asyncio.wait_for(asyncio.gather(*works(pools, pool("second"), 1, 0.1, Counted())), 20) == [
            "rested"
        ]
        assert pools.stats()["engine", "first"][0] == 0

    run(scenario, cpus=1)


def test_a_unit_whose_worker_dies_goes_to_another_one_and_both_are_told(tmp_path: object) -> None:
    mark = f"{tmp_path}/died"

    def die_once() -> str:
        if not os.path.exists(mark):
            open(mark, "w").close()
            os._exit(1)
        return "rested"

    async def scenario(pools: Pools) -> None:
        events = Counted()
        assert await pools.run(pool("mortal"), WorkItem("die", events, die_once, ())) == "rested"
        assert events.counts == {"started": 2, "died": 1}
        assert pools.stats()["engine", "mortal"][3] == 1

    run(scenario)


def test_a_start_that_waits_for_rays_head_holds_up_neither_the_loop_nor_its_end() -> None:
    async def scenario(pools: Pools) -> None:
        stuck = pool("stuck")
        stuck.start = lambda name: threading.Event().wait()
        events = Counted()
        (unit,) = works(pools, stuck, 1, 0.0, events)
        while not events.counts["started"]:
            await asyncio.sleep(0.01)
        unit.cancel()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pools.close(), 0.1)
        raise KeyError("the loop went on")

    with pytest.raises(KeyError, match="the loop went on"):
        asyncio.run(scenario(Pools(ResourceRequest(1, 0))))


def test_a_worker_that_cannot_be_started_fails_its_unit_and_leaves_the_pool() -> None:
    async def scenario(pools: Pools) -> None:
        starts = iter([ValueError("no such runtime environment")])

        def start(name: str) -> object:
            for error in starts:
                raise error
            return ray.remote(Waiter).options(num_cpus=0).remote()

        fussy = pool("fussy", max_size=1)
        fussy.start = start
        (first,) = works(pools, fussy, 1, 0.0, Counted())
        with pytest.raises(ValueError, match="no such runtime environment"):
            await first
        assert await asyncio.gather(*works(pools, fussy, 1, 0.0, Counted())) == ["rested"]

    run(scenario)


def test_a_pool_that_was_forgotten_while_it_was_idle_works_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools_, "SHUT_DOWN_AFTER_SECONDS", 0.5)

    async def scenario(pools: Pools) -> None:
        one = pool("again")
        for _ in range(2):
            assert await asyncio.wait_for(asyncio.gather(*works(pools, one, 1, 0.1, Counted())), 20) == ["rested"]
            await until(lambda: not pools._pools)

    run(scenario)


def test_work_that_is_given_up_leaves_the_queue_and_what_a_worker_is_at_ends_by_itself() -> None:
    async def scenario(pools: Pools) -> None:
        events, crowd = Counted(), pool("given-up", max_size=1)
        tasks = works(pools, crowd, 5, 0.5, events)
        while not events.counts["started"]:
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not crowd.waiting
        (last,) = works(pools, crowd, 1, 0.0, events)
        assert await last == "rested"
        assert events.counts == {"started": 2}

    run(scenario)
