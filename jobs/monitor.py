"""Reports the progress of a run to the terminal, the status file, the logs of its steps and Prometheus."""

import asyncio
import contextlib
import dataclasses
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from jobs import memory, metrics
from jobs.pools import Pools
from jobs.progress import ProgressDisplay
from jobs.step_log import StepLog
from pipeline.core.errors import StoreError
from pipeline.store import Store, status
from pipeline.store.artifact import Json
from pipeline.store.lease import RENEW_SECONDS, RunLease
from pipeline.store.step import Step

STATES = ("waiting", "running", "done", "failed", "blocked")


class RunMonitor:
    """Keeps counts of steps, and single steps only while they run."""

    def __init__(
        self,
        study: str,
        store: Store,
        run_dir: str,
        steps: Sequence[Step],
        done: Iterable[str],
        pools: Pools,
        expected: Mapping[str, tuple[float, str]] | None = None,
        *,
        until: str = "",
        refused: Mapping[str, str] | None = None,
    ) -> None:
        """steps: the steps requested of this run. expected: from `estimate.expected`. until: the kind of step to stop
        after, or "". refused: path of a gate that refused its teacher in an earlier run -> why."""
        self._run_dir = run_dir
        self._study = study
        self._store = store
        self._pools = pools
        self._status = status.new_status(study, steps, done, expected, until)
        self._status.refused.update(list((refused or {}).items())[: status.FAILURES])
        self._states = {
            state: Counter(self._status.done_at_start) if state == "done" else Counter[str]() for state in STATES
        }
        self._states["waiting"].update(self._status.steps)
        self._states["waiting"].subtract(self._states["done"])
        self._begun: dict[str, float] = {}  # path of a running step -> monotonic seconds
        self._queues: dict[tuple[str, str], tuple[int, int, int, int]] = {}
        self._reported: set[str] = set()
        self._writing, self._ended = threading.Lock(), False
        self._progress = ProgressDisplay(self._status.steps, self._status.done_at_start)
        again = status.begin(store, self._run_dir, self._status, steps)
        self._logs = StepLog(store, self._run_dir, study, again=again)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._logs.close()
        self._measure()
        with contextlib.suppress(StoreError):
            self._write(ended=True)

    def unit_started(self, step: Step, unit: str) -> None:
        if step.path not in self._begun:
            self._begun[step.path] = time.monotonic()
            self._status.begun.setdefault(step.kind, time.time())
            self._move(step, "waiting", "running")
        self._logs.add(step, "unit begun", unit=unit)

    def unit_died(self, step: Step, unit: str) -> None:
        self._progress.say(f"the worker on {step.path} {unit} died; another one takes over", "yellow")
        self._logs.add(step, "worker died", unit=unit)

    def unit_done(self, step: Step, unit: str, record: Json) -> None:
        """A unit was finished in this run, with this record."""
        seconds = round(record["ended"] - record["started"], 3)
        self._logs.add(step, "unit done", unit=unit, seconds=seconds, results=record["results"])
        metrics.unit_done(self._study, step, record)

    def acceptance(self, step: Step, text: str) -> None:
        """Report the acceptance rate expected from a step's first completions."""
        self._progress.say(text)
        self._logs.add(step, "acceptance", text=text)

    async def finished(self, step: Step) -> None:
        seconds = self._end(step, "done")
        self._progress.advance(step.kind)
        self._progress.say(f"done    {step.kind:11} {step.slug}  ({seconds:.1f} s)")
        self._logs.add(step, "done", seconds=round(seconds, 3))
        await asyncio.to_thread(self._logs.write, step.path)

    async def failed(self, step: Step, why: str, error: Exception) -> None:
        self._end(step, "failed")
        if len(self._status.why) < status.FAILURES:
            self._status.why[step.path] = why
        self._progress.say(f"FAILED  {step.kind:11} {step.slug}: {why}", "red")
        self._logs.add(step, "failed", why=why, traceback="".join(traceback.format_exception(error)))
        await asyncio.to_thread(self._logs.write, step.path)

    def blocked(self, step: Step, *, was_done: bool = False) -> None:
        self._move(step, "done" if was_done else "waiting", "blocked")

    def refused(self, step: Step, why: str) -> None:
        """A gate refused its teacher, so the steps after it are not made."""
        if len(self._status.refused) < status.FAILURES:
            self._status.refused[step.path] = why
        self._progress.say(f"REFUSED {step.kind:11} {why}", "yellow")
        self._logs.add(step, "refused", why=why)

    def say(self, text: str) -> None:
        self._progress.say(text, "yellow")

    async def heartbeat(self) -> None:
        """Keep the status file and the gauges up to date until cancelled."""
        while True:
            self._measure()
            now = self._now(ended=False)
            self._progress.running(now.running, {kind: status.stage_left(now, now.done, kind) for kind in now.steps})
            try:
                await asyncio.to_thread(self._write, ended=False)
            except StoreError as error:  # the next heartbeat may succeed; the work goes on
                self._say_once(f"the status is not up to date: {error}")
            await asyncio.to_thread(memory.malloc_trim)
            await asyncio.sleep(status.HEARTBEAT_SECONDS)

    async def renew(self, lease: RunLease) -> None:
        """Renew the lease of the run until cancelled. Raises LeaseLost if gc took the run for dead."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await asyncio.to_thread(lease.renew)
            except StoreError as error:
                self._say_once(f"the lease of this run is not renewed: {error}")

    def _write(self, *, ended: bool) -> None:
        """Write the status file. A heartbeat whose thread outlives its task must not overwrite the final status."""
        with self._writing:
            if not self._ended:
                self._ended = ended
                status.write(self._store, self._run_dir, self._now(ended=ended))

    def _say_once(self, text: str) -> None:
        if text not in self._reported:
            self._reported.add(text)
            self.say(text)

    def _end(self, step: Step, state: str) -> float:
        """Move a step to its final state; seconds since its first unit began."""
        begun = self._begun.pop(step.path, None)
        self._move(step, "waiting" if begun is None else "running", state)
        return 0.0 if begun is None else time.monotonic() - begun

    def _move(self, step: Step, before: str, after: str) -> None:
        self._states[before][step.kind] -= 1
        self._states[after][step.kind] += 1

    def _measure(self) -> None:
        self._queues = self._pools.stats()
        for (role, family), (workers, busy, waiting, deaths) in self._queues.items():
            labels = {"study": self._study, "stage": role, "family": family}
            metrics.gauge("workers", workers, **labels)
            metrics.gauge("units_running", busy, **labels)
            metrics.gauge("units_waiting", waiting, **labels)
            metrics.gauge("worker_deaths", deaths, **labels)
        for state, counts in self._states.items():
            for kind in self._status.steps:
                metrics.gauge("steps", counts[kind], study=self._study, stage=kind, state=state)
        metrics.gauge("store_retries", self._store.retries, study=self._study)

    def _now(self, *, ended: bool) -> status.RunStatus:
        return dataclasses.replace(
            self._status,
            heartbeat=time.time(),
            ended=ended,
            done=dict(self._states["done"]),
            running=dict(self._states["running"]),
            begun=dict(self._status.begun),
            failed=dict(self._states["failed"]),
            pools={" ".join(filter(None, pool)): queue for pool, queue in self._queues.items()},
        )
