"""The driver: starts every step of the plan whose inputs are done, and returns the outcome.

It holds ids and counts, never rows.
"""

import asyncio
import signal
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rich.console import Console

from jobs.cluster import Cluster, join, require_memory
from jobs.job import Job, partial_report, plan
from jobs.monitor import RunMonitor
from jobs.pools import Pools, ResourceRequest
from jobs.signer import attestor_of, unsigned
from jobs.steps import Steps
from pipeline.core.errors import LeaseLost, ResourceError, Stopped, UndertowError
from pipeline.core.reasons import FAILED
from pipeline.plan import estimate
from pipeline.provenance.attestation.signing import Attestor
from pipeline.stages import stage_of
from pipeline.store import Store, artifact, parallel_map, status
from pipeline.store.lease import running
from pipeline.store.root import mark
from pipeline.store.step import Step, dependents, up_to

Running = Coroutine[Any, Any, None]
STEPS_AT_ONCE = 2000  # started but not finished; bounds the driver's memory for studies of any size


@dataclass
class Outcome:
    """The outcome of a run.

    run_dir: the folder under the root with its status and logs. asked: the requested steps, all or those up to a kind.
    done_before, done: paths of steps. failed: path -> why. blocked: path -> the step it waits for, which failed or
    refused. refused: path of a gate that refused its teacher -> why. reasons: path of a failed or refusing step -> its
    code, as in pipeline.core.reasons. until: the kind of step to stop after, or "". stopped: the signal that ended the
    run early, or None. broken: why the run could not go on, such as the death of Ray, or "".
    """

    run_dir: str
    steps: list[Step]
    asked: list[Step]
    done_before: set[str]
    done: set[str]
    failed: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    until: str = ""
    stopped: signal.Signals | None = None
    broken: str = ""

    def refuse(self, step: Step, code: str, why: str) -> None:
        """Record that no step after this one may be made."""
        self.refused[step.path], self.reasons[step.path] = why, code

    @property
    def complete(self) -> bool:
        return not (self.failed or self.refused or self.blocked or self.stopped or self.broken)


def run(job: Job, store: Store, address: str | None = None, until: str = "") -> Outcome:
    """Make the steps of a study or an experiment that are not done yet, or those up to a kind, in a writable store.

    Raises ResourceError if there is no cluster, or if it is too small, and InputError if the signing key is unusable.
    """
    attestor = attestor_of(job)
    outcome = plan_run(job, store, until)
    if attestor is not None:
        _tell_unsigned(store, attestor, outcome)
    if _is_settled(job, store, outcome):
        mark(store)  # roots of earlier versions have no marker yet
        return outcome
    cluster = join(address)
    try:
        asyncio.run(_on_cluster(job, store, outcome, cluster, attestor))
    finally:
        cluster.shut_down()
    return outcome


def _tell_unsigned(store: Store, attestor: Attestor, outcome: Outcome) -> None:
    """A run signs what it commits itself: of what it finds done it cannot say how it came there."""
    if count := len(unsigned(store, attestor, sorted(outcome.done))):
        Console(stderr=True).print(
            f"{count:,} finished artifacts of this study carry no signature of this key, and this run does not sign "
            "them; `undertow attest` does.",
            style="yellow",
            soft_wrap=True,
            highlight=False,
        )


def plan_run(job: Job, store: Store, until: str = "") -> Outcome:
    """Plan a study or experiment and find what is done.

    Raises ArtifactError if a manifest is damaged or not of the planned step.
    """
    steps = plan(job)
    asked = up_to(until, steps) if until else steps
    # Keep no more than this: the manifests of a large study would not fit in memory.
    found = parallel_map(partial(_found, store), steps)
    done = {path for path, _ in found if path}
    outcome = Outcome(status.folder(job.name, steps), steps, asked, set(done), done, until=until)
    for step, (_, refusal) in zip(steps, found, strict=True):
        if refusal:
            outcome.refuse(step, *refusal)
    return outcome


def _found(store: Store, step: Step) -> tuple[str, tuple[str, str] | None]:
    """The path of a step that is done, or "", and its refusal: code and words."""
    manifest = artifact.load_planned(store, step)
    return (step.path, refusal_of(step, manifest)) if manifest else ("", None)


def refusal_of(step: Step, manifest: artifact.Manifest) -> tuple[str, str] | None:
    """(code, words) if the result of a finished step forbids the steps after it."""
    stage = stage_of(step.kind)
    code = stage.refusal(manifest.results)
    return (code, f"{step.slug}: {stage.explain(manifest.results)}") if code else None


def _is_settled(job: Job, store: Store, outcome: Outcome) -> bool:
    """Whether nothing is left to do: all is done, or all that finished gates allow, and the report on it."""
    lost = dependents(outcome.asked, {path: path for path in outcome.refused})
    if any(step.path not in outcome.done and step.path not in lost for step in outcome.asked):
        return False
    report: list[Step] = []
    if lost and not outcome.until:
        report = partial_report(job, outcome.steps, outcome.done, outcome.reasons, outcome.refused)
    if not all(artifact.exists(store, step.path) for step in report):
        return False
    outcome.blocked.update(lost)
    outcome.done -= lost.keys()
    outcome.steps += report
    outcome.done |= {step.path for step in report}
    outcome.done_before |= {step.path for step in report}
    return True


async def _on_cluster(job: Job, store: Store, outcome: Outcome, cluster: Cluster, attestor: Attestor | None) -> None:
    console = Console(stderr=True)
    await cluster.wait_for_resources(job, lambda text: console.print(text, style="yellow", soft_wrap=True))
    require_memory(job)
    pools = Pools(cluster.total())
    try:
        await execute(job, store, outcome, pools, partial(cluster.sync, pools), attestor=attestor)
        if not outcome.complete and not outcome.broken:  # units of a dead Ray may have failed before the next check
            outcome.broken = cluster.death()
    finally:
        cluster.release()


async def execute(
    job: Job,
    store: Store,
    outcome: Outcome,
    pools: Pools,
    *more: Callable[[], Running],
    attestor: Attestor | None = None,
) -> None:
    """Make the steps that are left, and keep the outcome up to date.

    more: further background tasks. attestor: signs each artifact once it is committed.
    """
    mark(store)
    asked, done = outcome.asked, [step.path for step in outcome.asked if step.path in outcome.done]
    expected = await asyncio.to_thread(_expected, job, store, outcome, pools.total)
    with (
        running(store, job.name) as lease,
        RunMonitor(
            job.name,
            store,
            outcome.run_dir,
            asked,
            done,
            pools,
            expected,
            until=outcome.until,
            refused=outcome.refused,
        ) as monitor,
    ):
        steps = Steps(job, store, pools, monitor, lease, outcome.steps, attestor)
        loops: list[Callable[[], Running]] = [pools.autoscale, monitor.heartbeat, partial(monitor.renew, lease), *more]
        background = [asyncio.create_task(loop()) for loop in loops]
        scheduling = asyncio.create_task(_schedule(job, steps, outcome, monitor, pools))
        with _stop_on_signals(outcome, monitor, pools, scheduling, job.resources.grace_seconds):
            try:
                await _finished(scheduling, background)
            except asyncio.CancelledError:
                pass  # the grace period is over: workers end with the driver
            except (LeaseLost, ResourceError) as error:
                outcome.broken = str(error)
                pools.stop()
            finally:
                for task in background:
                    task.cancel()


async def _schedule(job: Job, steps: Steps, outcome: Outcome, monitor: RunMonitor, pools: Pools) -> None:
    await Scheduler(steps, outcome, monitor).run()
    if not (outcome.stopped or outcome.broken):
        await _report_partial(job, steps, outcome)
    await pools.close()


async def _finished(scheduling: "asyncio.Task[None]", background: Sequence["asyncio.Task[None]"]) -> None:
    """Return once all steps are done. A background task only ends by failing, and then ends the run."""
    await asyncio.wait([scheduling, *background], return_when=asyncio.FIRST_COMPLETED)
    for task in background:
        if task.done() and not scheduling.done():
            scheduling.cancel()
            task.result()
    await scheduling


def _expected(job: Job, store: Store, outcome: Outcome, total: ResourceRequest) -> dict[str, tuple[float, str]]:
    """How long each stage should take. Empty if there is no estimate, which must not stop a run."""
    with suppress(UndertowError):
        return estimate.expected(job, outcome.steps, outcome.done, store, total.cpus, total.gpus)
    return {}


@contextmanager
def _stop_on_signals(
    outcome: Outcome, monitor: RunMonitor, pools: Pools, scheduling: "asyncio.Task[None]", grace_seconds: float
) -> Iterator[None]:
    """On the first SIGTERM or Ctrl-C, take no more work and let units in flight finish; on the second, end now."""
    loop = asyncio.get_running_loop()

    def stop(signal_: signal.Signals) -> None:
        if outcome.stopped:
            scheduling.cancel()
            return
        outcome.stopped = signal_
        pools.stop()
        loop.call_later(grace_seconds, scheduling.cancel)
        monitor.say(f"stopping: finishing what is in flight, for at most {grace_seconds:g} s")

    with handle_signals(stop):
        yield


@contextmanager
def handle_signals(stop: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Have the running loop call `stop` on every SIGTERM and SIGINT.

    loop.add_signal_handler learns of a signal through a byte in a pipe. It would miss one while that pipe is full of
    other threads' wake-ups, as happens when thousands of units start.
    """
    loop = asyncio.get_running_loop()

    def schedule_stop(number: int, frame: object) -> None:
        loop.call_soon_threadsafe(stop, signal.Signals(number))

    before = {signal_: signal.signal(signal_, schedule_stop) for signal_ in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signal_, handler in before.items():
            signal.signal(signal_, handler or signal.SIG_DFL)


class Scheduler:
    """Starts every step of the plan once, when its inputs are done. A failure blocks the steps that depend on it.

    So does a gate that refuses, even if these steps were done before the gate became so strict.
    """

    def __init__(self, steps: Steps, outcome: Outcome, monitor: RunMonitor) -> None:
        self._steps = steps
        self._outcome = outcome
        self._monitor = monitor
        self._slots = asyncio.Semaphore(STEPS_AT_ONCE)
        self._step = {step.path: step for step in outcome.asked}
        ready = outcome.done - outcome.refused.keys()
        waiting = {step.path: "" for step in outcome.asked if not ready.issuperset(step.after)}
        waiting |= dependents(outcome.asked, waiting)  # whether done or not
        self._needs = {
            path: {
                source for source in (*step.inputs.values(), *step.after) if source not in ready or source in waiting
            }
            for path, step in self._step.items()
            if path not in outcome.done or path in waiting
        }
        self._dependents: dict[str, list[str]] = defaultdict(list)
        for path, needs in self._needs.items():
            for source in needs:
                self._dependents[source].append(path)

    async def run(self) -> None:
        for path in self._outcome.refused:
            self._block(path)
        async with asyncio.TaskGroup() as group:
            self._group = group
            for path in [path for path, needs in self._needs.items() if not needs]:
                self._start(path)

    def _start(self, path: str) -> None:
        self._group.create_task(self._make(self._step[path]))

    async def _make(self, step: Step) -> None:
        if step.path not in self._outcome.done:
            async with self._slots:
                try:
                    made = await self._steps.make(step)
                except Stopped:
                    return
                except Exception as error:
                    if isinstance(error, LeaseLost):  # the run has lost it; a step may notice before the renewal does
                        self._outcome.broken = str(error)
                    await self._fail(step, error)
                    return
            self._outcome.done.add(step.path)
            refusal = refusal_of(step, made)
            if refusal:
                self._outcome.refuse(step, *refusal)
                self._monitor.refused(step, refusal[1])  # before its log is written
            await self._monitor.finished(step)
            if refusal:
                self._block(step.path)
        for path in self._dependents.pop(step.path, []):
            self._needs[path].discard(step.path)
            if not self._needs[path]:
                self._start(path)

    async def _fail(self, step: Step, error: Exception) -> None:
        why = _reason(error)
        self._outcome.failed[step.path] = why
        self._outcome.reasons[step.path] = _code(error)
        self._block(step.path)
        await self._monitor.failed(step, why, error)

    def _block(self, source: str) -> None:
        """Mark everything that depends on a step as blocked."""
        waiting = [source]
        while waiting:
            for path in self._dependents.pop(waiting.pop(), []):
                if path not in self._outcome.blocked:
                    self._outcome.blocked[path] = source
                    self._monitor.blocked(self._step[path], was_done=path in self._outcome.done)
                    self._outcome.done.discard(path)
                    waiting.append(path)


async def _report_partial(job: Job, steps: Steps, outcome: Outcome) -> None:
    """If some results are missing, measure and report the others, and state what is missing."""
    notes = outcome.failed | outcome.refused
    for step in partial_report(job, outcome.steps, outcome.done, outcome.reasons, notes):
        if step.kind not in {asked.kind for asked in outcome.asked}:
            continue
        try:
            await steps.make(step)
        except Exception as error:
            outcome.failed[step.path] = _reason(error)
            return
        outcome.steps.append(step)
        outcome.done.add(step.path)


def _code(error: Exception) -> str:
    """The code of a step's error, as in pipeline.core.reasons."""
    cause = getattr(error, "cause", None) or error
    return cause.code if isinstance(cause, UndertowError) else FAILED


def _reason(error: Exception) -> str:
    """One message a person can act on. Ray wraps errors of workers."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, UndertowError):
        return str(cause)
    return f"{type(cause).__name__}: {str(cause).strip().splitlines()[-1] if str(cause).strip() else 'no message'}"
