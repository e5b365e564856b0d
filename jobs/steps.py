"""Runs the units of steps on the pools. Stages define the units; this module names no kind of step."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, remove_placement_group

from jobs import metrics
from jobs.monitor import RunMonitor
from jobs.pools import Pool, Pools, ResourceRequest, WorkItem
from jobs.training_group import TrainingGroup, bundles
from jobs.workers import ComputeWorker, EngineWorker, FakeTrainerWorker
from pipeline.plan.planner import needed_rows
from pipeline.provenance.attestation.signing import Attestor
from pipeline.stages import run_unit, stage_of
from pipeline.stages.contract import OnCompute, OnEngine, OnTrainer, Placement, Runtime
from pipeline.store import Store, artifact, open_store
from pipeline.store.artifact import Json
from pipeline.store.lease import RunLease
from pipeline.store.removal import remove
from pipeline.store.step import Step
from pipeline.study.plannable import Plannable


@dataclass(frozen=True)
class _UnitEvents:
    """Reports the events of one unit to the monitor."""

    monitor: RunMonitor
    step: Step
    unit: str

    def started(self) -> None:
        self.monitor.unit_started(self.step, self.unit)

    def died(self) -> None:
        self.monitor.unit_died(self.step, self.unit)


class Steps:
    """Makes the steps of one study or experiment, by `make`."""

    def __init__(
        self,
        study: Plannable,
        store: Store,
        pools: Pools,
        monitor: RunMonitor,
        lease: RunLease,
        steps: Sequence[Step] = (),
        attestor: Attestor | None = None,
    ) -> None:
        """steps: the plan, to know what later steps need from earlier ones. attestor: signs what is committed."""
        self._attestor = attestor
        self._needed_rows = needed_rows(steps)
        self._study = study
        self.store = store
        self._pools = pools
        self.monitor = monitor
        self._lease = lease
        self._bundles: dict[Any, PlacementGroup] = {}  # of the training groups that are up
        # The callback is sent to ranks by plain pickle.
        reporting = partial(metrics.trained, study.name)
        self._runtime = Runtime(study.resources.training.checkpoint_seconds, reporting)

    async def make(self, step: Step) -> artifact.Manifest:
        """Run the remaining units of a step and commit it. Raises the errors of its units."""
        stage = stage_of(step.kind)
        records = await stage.run(step, _Units(self, step))
        results = stage.summarise(step, records)
        await asyncio.to_thread(self._lease.require)
        manifest = await asyncio.to_thread(artifact.commit, self.store, step, records, results)
        if self._attestor is not None:
            await asyncio.to_thread(self._attestor.sign, self.store, manifest)
        return manifest

    async def run_unit(self, step: Step, unit: str, placement: Placement) -> Json:
        record: Json
        if placement is None:
            record = await self.call(step, unit, run_unit, None, step, unit, self._runtime)
            return record
        record = await self._pools.run(
            self._pool(placement), self._work(step, unit, run_unit, step, unit, self._runtime)
        )
        return record

    def _pool(self, placement: OnEngine | OnTrainer | OnCompute) -> Pool:
        if isinstance(placement, OnEngine):
            return self.engine_pool(placement)
        return self._trainers() if isinstance(placement, OnTrainer) else self._compute_pool()

    async def call(self, step: Step, unit: str, function: Callable[..., Any], *args: Any) -> Any:
        """function(store, *args) in a plain task."""
        return await self._pools.task(self._work(step, unit, _call, function, self.store.root, *args))

    def _work(self, step: Step, unit: str, function: Callable[..., Any], *args: Any) -> WorkItem:
        return WorkItem(f"{step.kind}:{step.slug}", _UnitEvents(self.monitor, step, unit), function, args)

    def _compute_pool(self) -> Pool:
        compute = self._study.resources.compute

        def start(name: str) -> Any:
            actor = ray.remote(ComputeWorker).options(name=name, num_cpus=compute.cpus, num_gpus=compute.gpus)
            return actor.remote(self.store.root, compute.cpus)

        request = ResourceRequest(compute.cpus, compute.gpus)
        return self._pools.pool(
            "compute", lambda: Pool("compute", "compute", "", request, 0, compute.max_workers, 1, start)
        )

    def _trainers(self) -> Pool:
        training = self._study.resources.training
        request = ResourceRequest(training.cpus * training.workers, training.gpus * training.workers)
        return self._pools.pool(
            "trainer",
            lambda: Pool(
                "trainer",
                "trainer",
                "",
                request,
                0,
                training.groups,
                1,
                self._start_trainer,
                training.workers,
                self._trainer_ended,
            ),
        )

    def _start_trainer(self, name: str) -> Any:
        study, root, training = self._study.name, self.store.root, self._study.resources.training
        if self._study.trainer == "fake":
            cpus = training.cpus * training.workers
            return ray.remote(FakeTrainerWorker).options(name=name, num_cpus=cpus).remote(root)
        # The group's ranks hold the CPUs; this actor only gives them work.
        resources = bundles(training)
        group = ray.remote(TrainingGroup).options(name=name, num_cpus=0).remote(study, root, training, name, resources)
        self._bundles[group] = resources
        return group

    def _trainer_ended(self, group: Any) -> None:
        resources = self._bundles.pop(group, None)
        with contextlib.suppress(Exception):  # the head may be gone, and its reservations with it
            if resources is not None:
                remove_placement_group(resources)

    def engine_pool(self, placement: OnEngine) -> Pool:
        engines, weights = self._study.resources.engines, placement.weights
        rank = self._study.adapter_rank if placement.adapters else 0
        name = f"engine:{weights}" if placement.adapters else f"engine:{weights}:without adapters"

        def start(worker: str) -> Any:
            actor = ray.remote(EngineWorker).options(
                name=worker, num_cpus=engines.cpus, num_gpus=engines.gpus, max_concurrency=engines.shards_in_flight
            )
            return actor.remote(self._study.name, self.store.root, weights, self._study.engine, engines, rank)

        return self._pools.pool(
            name,
            lambda: Pool(
                name,
                "engine",
                placement.family,
                ResourceRequest(engines.cpus, engines.gpus),
                engines.min_workers,
                engines.max_workers,
                engines.shards_in_flight,
                start,
            ),
        )

    def needed_rows(self, step: Step) -> Mapping[int, Step]:
        return self._needed_rows.get(step.path, {})


class _Units:
    """The units of one step: see pipeline.stages.contract.Units."""

    def __init__(self, steps: Steps, step: Step) -> None:
        self.store = steps.store
        self.needed_rows = steps.needed_rows(step)
        self._steps = steps
        self._step = step
        self._monitor = steps.monitor

    async def run(self, unit: str) -> Json:
        stage, step = stage_of(self._step.kind), self._step
        rows = stage.planned_rows(step, unit)
        record = await asyncio.to_thread(artifact.planned_unit, self.store, step, unit, rows)
        if record is None:
            record = await self._steps.run_unit(step, unit, stage.placement(step, unit))
            self._monitor.unit_done(step, unit, record)
        return record

    async def discard(self, unit: str) -> None:
        await asyncio.to_thread(remove, self.store, artifact.record_path(self._step, unit))

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return await self._steps.call(self._step, function.__name__, function, *args)

    def report(self, text: str) -> None:
        self._monitor.acceptance(self._step, text)


def _call(function: Callable[..., Any], root: str, *args: Any) -> Any:
    return function(open_store(root), *args)
