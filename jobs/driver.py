"""The driver: walks the plan, starts every step whose inputs are done, and says how it went.

It holds ids and counts, never rows.
"""

import asyncio
import logging
import os
import signal
from collections import defaultdict
from dataclasses import dataclass, field

import ray

from jobs.pools import Cost, Pools
from jobs.steps import Steps
from jobs.watch import Watch
from pipeline import artifact
from pipeline.errors import ResourceError, Stopped, UndertowError
from pipeline.plan import Step, plan
from pipeline.store import Store, at_once
from pipeline.study import Study

STEPS_AT_ONCE = 2000  # started but not finished: bounds what the driver holds on a study of any size
# Several processes share the cores; each is to use only those that Ray gave it.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}


@dataclass
class Outcome:
    """What became of a run. failed: path -> why; blocked: path -> the failed step it waits for.

    stopped: the signal that ended it early, or None.
    """

    name: str
    steps: list[Step]
    done_before: set[str]
    done: set[str]
    failed: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    stopped: signal.Signals | None = None

    @property
    def complete(self) -> bool:
        return not self.failed and not self.blocked and not self.stopped


def run(study: Study, store: Store, address: str | None = None) -> Outcome:
    """Make everything of a study that is not made yet, in a store that is writable.

    Raises ResourceError where there is no cluster, or one that is too small.
    """
    outcome = begin(study, store)
    if len(outcome.done) == len(outcome.steps):
        return outcome
    _start_ray(address)
    try:
        asyncio.run(walk(study, store, outcome, _pools(study)))
    finally:
        ray.shutdown()
    return outcome


def begin(study: Study, store: Store) -> Outcome:
    """What is done already. Raises ArtifactError where a manifest is damaged."""
    steps = plan(study)
    # Only the paths are kept: the manifests of a large study would not fit.
    found = at_once(lambda step: step.path if artifact.load(store, step.path) else None, steps)
    done = {path for path in found if path is not None}
    return Outcome(study.study, steps, set(done), done)


def _start_ray(address: str | None) -> None:
    if address is None and "RAY_ADDRESS" not in os.environ and "RAY_JOB_ID" not in os.environ:
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        ray.init(
            address="local",
            dashboard_host="127.0.0.1",
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": ENVIRONMENT},
        )
        return
    try:
        ray.init(address=address or "auto", log_to_driver=False, runtime_env={"env_vars": ENVIRONMENT})
    except (ConnectionError, ValueError) as error:
        raise ResourceError(f"cannot reach a Ray cluster at {address}: {error}") from None


def _pools(study: Study) -> Pools:
    total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cluster = Cost(total.get("CPU", 0.0), total.get("GPU", 0.0))
    _require_room(study, cluster, total.get("memory", 0.0))
    return Pools(cluster)


async def walk(study: Study, store: Store, outcome: Outcome, pools: Pools) -> None:
    """Make the steps that are left, and keep the outcome up to date."""
    with Watch(study.study, store, outcome.steps, outcome.done, pools) as watch:
        steps = Steps(study, store, pools, watch)
        beside = [asyncio.create_task(work) for work in (pools.tend(), watch.tend())]
        walking = asyncio.create_task(Walk(steps, outcome, watch).all())
        _on_signals(outcome, watch, pools, walking, study.resources.grace_seconds)
        try:
            await walking
            if not outcome.stopped:
                await _conclude_without(study, steps, outcome)
        except asyncio.CancelledError:
            return  # the grace time is over: members end with the driver
        finally:
            for task in beside:
                task.cancel()
        await pools.close()


def _on_signals(
    outcome: Outcome, watch: Watch, pools: Pools, walking: "asyncio.Task[None]", grace_seconds: float
) -> None:
    """At the first SIGTERM or Ctrl-C take no more work and let the units in flight finish; at the second, end now."""
    loop = asyncio.get_running_loop()

    def stop(signal_: signal.Signals) -> None:
        if outcome.stopped:
            walking.cancel()
            return
        outcome.stopped = signal_
        pools.stop()
        loop.call_later(grace_seconds, walking.cancel)
        watch.say(f"stopping: finishing what is in flight, for at most {grace_seconds:g} s")

    for signal_ in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_, stop, signal_)


def _require_room(study: Study, cluster: Cost, memory: float) -> None:
    """Raise ResourceError where one engine or one training group can never fit."""
    engines, training = study.resources.engines, study.resources.training
    for name, cost in (
        ("engines", Cost(engines.cpus, engines.gpus)),
        ("training", Cost(training.cpus * training.workers, training.gpus * training.workers)),
    ):
        if not cost.fits(cluster):
            raise ResourceError(
                f"resources.{name} asks for {cost.cpus:g} CPUs and {cost.gpus:g} GPUs at once, and the cluster has "
                f"{cluster.cpus:g} and {cluster.gpus:g}: ask for less, or start a larger cluster"
            )
    if study.engine == "vllm" and not engines.gpus and engines.memory_gib * 2**30 > memory:
        raise ResourceError(
            f"resources.engines.memory_gib is {engines.memory_gib:g} GiB and Ray sees {memory / 2**30:.1f} GiB of "
            "memory for its workers: lower it, or use a larger machine"
        )


class Walk:
    """One pass over the plan: a step starts when its inputs are done, and a failure blocks what follows."""

    def __init__(self, steps: Steps, outcome: Outcome, watch: Watch) -> None:
        self._steps = steps
        self._outcome = outcome
        self._watch = watch
        self._slots = asyncio.Semaphore(STEPS_AT_ONCE)
        self._step = {step.path: step for step in outcome.steps}
        self._needs = {
            path: {source for source in step.inputs.values() if source not in outcome.done}
            for path, step in self._step.items()
            if path not in outcome.done
        }
        self._dependents: dict[str, list[str]] = defaultdict(list)
        for path, needs in self._needs.items():
            for source in needs:
                self._dependents[source].append(path)

    async def all(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            for path in [path for path, needs in self._needs.items() if not needs]:
                self._start(path)

    def _start(self, path: str) -> None:
        self._group.create_task(self._make(self._step[path]))

    async def _make(self, step: Step) -> None:
        async with self._slots:
            try:
                await self._steps.make(step)
            except Stopped:
                return
            except Exception as error:
                await self._fail(step, error)
                return
        self._outcome.done.add(step.path)
        await self._watch.finished(step)
        for path in self._dependents.pop(step.path, []):
            self._needs[path].discard(step.path)
            if not self._needs[path]:
                self._start(path)

    async def _fail(self, step: Step, error: Exception) -> None:
        why = _reason(error)
        self._outcome.failed[step.path] = why
        waiting = [step.path]
        while waiting:
            for path in self._dependents.pop(waiting.pop(), []):
                if path not in self._outcome.blocked:
                    self._outcome.blocked[path] = step.path
                    self._watch.blocked(self._step[path])
                    waiting.append(path)
        await self._watch.failed(step, why, error)


async def _conclude_without(study: Study, steps: Steps, outcome: Outcome) -> None:
    """Where some answers cannot be had, measure and report the others, saying what is missing."""
    missing = {
        step.path: outcome.failed.get(step.path) or outcome.failed[outcome.blocked[step.path]]
        for step in outcome.steps
        if step.kind == "answers" and step.path not in outcome.done
    }
    answered = [step for step in outcome.steps if step.kind == "answers" and step.path in outcome.done]
    bases_answered = [step for step in answered if step.inputs["model"].startswith("base/")]
    if not missing or len(answered) == len(bases_answered):
        return
    for step in plan(study, missing)[-2:]:
        try:
            await steps.make(step)
        except Exception as error:
            outcome.failed[step.path] = _reason(error)
            return
        outcome.steps.append(step)
        outcome.done.add(step.path)


def _reason(error: Exception) -> str:
    """One message a person can act on; Ray wraps what a worker raised."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, UndertowError):
        return str(cause)
    return f"{type(cause).__name__}: {str(cause).strip().splitlines()[-1] if str(cause).strip() else 'no message'}"
