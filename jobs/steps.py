"""How each kind of step is made of units of work, and which pool does them. No arithmetic, no science."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray

from jobs import metrics
from jobs.members import EngineMember, ScriptedTrainerMember, TrainerMember
from jobs.pools import Cost, Pool, Pools, Work
from jobs.shards import generate
from jobs.watch import Watch
from pipeline import artifact
from pipeline.artifact import Json
from pipeline.judges import science
from pipeline.lease import RunLease
from pipeline.stages import (
    acceptance,
    answers,
    base,
    completions,
    conclusion,
    corpus,
    dataset,
    gate,
    judgements,
    ratings,
    teacher,
    training,
)
from pipeline.step import Step
from pipeline.store import Store, open_store
from pipeline.study import Study


@dataclass(frozen=True)
class Told:
    """Tells the watch what becomes of one unit."""

    watch: Watch
    step: Step
    unit: str

    def begun(self) -> None:
        self.watch.unit_begun(self.step, self.unit)

    def died(self) -> None:
        self.watch.unit_died(self.step, self.unit)


class Steps:
    """Makes the steps of one study; `make` is the only door."""

    def __init__(
        self, study: Study, store: Store, pools: Pools, watch: Watch, lease: RunLease, steps: Sequence[Step] = ()
    ) -> None:
        """steps: the plan, for what completions are needed for."""
        self._needs = corpus.needs(steps)
        self._study = study
        self._store = store
        self._pools = pools
        self._watch = watch
        self._lease = lease

    async def make(self, step: Step) -> artifact.Manifest:
        """Run what is left of a step and commit it. Raises what its units raised."""
        kinds: dict[str, Callable[[Step], Awaitable[tuple[list[Json], Json]]]] = {
            "dataset": self._dataset,
            "base": self._base,
            "teacher": self._teacher,
            "gate": self._gate,
            "completions": self._completions,
            "judgements": self._judgements,
            "corpus": self._corpus,
            "student": self._trained,
            "answers": self._answers,
            "ratings": self._ratings,
            "transfer": self._transfer,
            "report": self._report,
        }
        units, results = await kinds[step.kind](step)
        await asyncio.to_thread(self._lease.require)
        return await asyncio.to_thread(artifact.commit, self._store, step, units, results)

    async def _dataset(self, step: Step) -> tuple[list[Json], Json]:
        return await self._one(step, "dataset", lambda unit: self._task(step, unit, dataset.make))

    async def _base(self, step: Step) -> tuple[list[Json], Json]:
        units, results = await self._trained(step)
        if not base.is_copied(step):
            return units, results
        pool = self.engine_pool(step.path, step.family, units[0])
        compared = await self._run(pool, step, "engine", base.compare, step, results["reference"])
        await asyncio.to_thread(artifact.record_unit, self._store, step, training.UNIT, units[0])
        return units, results | compared

    async def _trained(self, step: Step) -> tuple[list[Json], Json]:
        seconds = self._study.resources.training.checkpoint_seconds
        watch = partial(metrics.trained, self._study.study)  # it crosses ranks, which plain pickle has to carry

        def train(unit: str) -> Awaitable[Json]:
            return self._run(self._trainers(), step, unit, training.train, step, seconds, watch)

        return await self._one(step, training.UNIT, train)

    async def _teacher(self, step: Step) -> tuple[list[Json], Json]:
        units = (await self._trained(step))[0] if teacher.is_trained(step) else []
        trained = units[0]["results"] if units else {}
        if "gate" not in step.settings:
            return units, trained
        base = artifact.require(self._store, step.inputs["base"])
        models = {
            "gate-base": (base.path, base),
            "gate-teacher": (step.weights, artifact.draft(self._store, step, units, trained)),
        }

        def score(unit: str) -> Awaitable[Json]:
            weights, model = models[unit]
            return self._run(self.engine_pool(weights, step.family), step, unit, teacher.score, step, unit, model)

        scored = await asyncio.gather(*(self._unit(step, unit, score) for unit in models))
        gate = teacher.gate(step, *(record["results"] for record in scored))
        return [*units, *scored], trained | {"gate": gate}

    async def _gate(self, step: Step) -> tuple[list[Json], Json]:
        return await self._one(step, "gate", lambda unit: self._task(step, unit, gate.check))

    async def _completions(self, step: Step) -> tuple[list[Json], Json]:
        def write(shard: str) -> Awaitable[Json]:
            if not completions.is_spoken(step):
                return self._task(step, shard, completions.write_drawn, shard)
            pool = self.engine_pool(step.weights, step.family)
            return self._run(pool, step, shard, completions.write_shard, step, shard)

        async def count(shards: list[Json]) -> int:
            what = (acceptance.count, self._store.root, step, reader, shards)
            return int(await self._pools.task(self._work(step, "acceptance", _call, *what)))

        needs = self._needs.get(step.path, {})
        reader = next(iter(needs.values()), step)  # the rule is the same for all corpora that read them
        records = await generate(
            step,
            needs,
            lambda shard: self._unit(step, shard, write, completions.indices(step, shard)),
            count,
            partial(self._watch.acceptance, step),
        )
        return records, completions.summarise(records)

    async def _judgements(self, step: Step) -> tuple[list[Json], Json]:
        def have_judged(shard: str) -> Awaitable[Json]:
            return self._asked(step, shard, judgements.judge_shard, shard)

        shards = await asyncio.to_thread(judgements.shards, self._store, step)
        records = await asyncio.gather(*(self._unit(step, shard, have_judged) for shard in shards))
        return records, completions.summarise(records)

    async def _ratings(self, step: Step) -> tuple[list[Json], Json]:
        return await self._one(step, "ratings", lambda unit: self._asked(step, unit, ratings.rate))

    def _asked(self, step: Step, unit: str, function: Callable[..., Json], *args: Any) -> Awaitable[Json]:
        """A unit that a judge does: one of the study's own engines, or one that needs none."""
        judge = next(judge for judge in self._study.judges.values() if science(judge) == step.settings["judge"])
        if not step.weights:
            return self._task(step, unit, _without_engine, function, *args, judge)
        return self._run(self.engine_pool(step.weights, step.family), step, unit, function, step, *args, judge)

    async def _corpus(self, step: Step) -> tuple[list[Json], Json]:
        return await self._one(step, "corpus", lambda unit: self._task(step, unit, corpus.make))

    async def _answers(self, step: Step) -> tuple[list[Json], Json]:
        pool = self.engine_pool(step.weights, step.family)
        return await self._one(step, "answers", lambda unit: self._run(pool, step, unit, answers.ask, step))

    async def _transfer(self, step: Step) -> tuple[list[Json], Json]:
        return await self._one(step, "transfer", lambda unit: self._task(step, unit, conclusion.make_transfer))

    async def _report(self, step: Step) -> tuple[list[Json], Json]:
        return await self._one(step, "report", lambda unit: self._task(step, unit, conclusion.make_report))

    async def _one(self, step: Step, name: str, work: Callable[[str], Awaitable[Json]]) -> tuple[list[Json], Json]:
        record = await self._unit(step, name, work)
        return [record], record["results"]

    async def _unit(
        self, step: Step, name: str, work: Callable[[str], Awaitable[Json]], rows: range | None = None
    ) -> Json:
        """The record of a unit: the stored one where it is done already, else that of doing it.

        rows: those that it covers, where they are planned.
        """
        record = await asyncio.to_thread(artifact.planned_unit, self._store, step, name, rows)
        if record is None:
            record = await work(name)
            self._watch.unit_done(step, name, record)
        return record

    async def _run(self, pool: Pool, step: Step, unit: str, function: Callable[..., Any], *args: Any) -> Any:
        return await self._pools.run(pool, self._work(step, unit, function, *args))

    async def _task(self, step: Step, unit: str, function: Callable[..., Json], *args: Any) -> Json:
        record: Json = await self._pools.task(self._work(step, unit, _call, function, self._store.root, step, *args))
        return record

    def _work(self, step: Step, unit: str, function: Callable[..., Any], *args: Any) -> Work:
        return Work(f"{step.kind}:{step.slug}", Told(self._watch, step, unit), function, args)

    def _trainers(self) -> Pool:
        training_ = self._study.resources.training
        cost = Cost(training_.cpus * training_.workers, training_.gpus * training_.workers)
        return self._pools.pool(
            "trainer",
            lambda: Pool(
                "trainer", "trainer", "", cost, 0, training_.groups, 1, self._start_trainer, parts=training_.workers
            ),
        )

    def _start_trainer(self, name: str) -> Any:
        study, root, training_ = self._study.study, self._store.root, self._study.resources.training
        if self._study.trainer == "scripted":
            cpus = training_.cpus * training_.workers
            return ray.remote(ScriptedTrainerMember).options(name=name, num_cpus=cpus).remote(root)
        # The group's workers hold the CPUs; this actor only hands them work.
        member = ray.remote(TrainerMember).options(name=name, num_cpus=0, max_concurrency=16)
        return member.remote(study, root, training_, name.replace(":", "-"))

    def engine_pool(self, weights: str, family: str, record: Json | None = None) -> Pool:
        """Engines on the weights of an artifact. record: of the unit that made them, where it is not stored yet."""
        engines = self._study.resources.engines

        def start(name: str) -> Any:
            actor = ray.remote(EngineMember).options(
                name=name, num_cpus=engines.cpus, num_gpus=engines.gpus, max_concurrency=engines.shards_in_flight
            )
            return actor.remote(
                self._study.study, self._store.root, weights, self._study.engine, engines, self._adapter_rank(), record
            )

        return self._pools.pool(
            f"engine:{weights}",
            lambda: Pool(
                f"engine:{weights}",
                "engine",
                family,
                Cost(engines.cpus, engines.gpus),
                engines.min_members,
                engines.max_members,
                engines.shards_in_flight,
                start,
            ),
        )

    def _adapter_rank(self) -> int:
        """The largest adapter that an engine of this study serves; 0 where there is none."""
        method = self._study.teachers.method
        students = [self._study.students.recipe(arm) for arm in self._study.all_arms]
        recipes = [*students, *([] if method.kind == "prompted" else [method.recipe])]
        return max((recipe.rank for recipe in recipes if recipe.method == "lora"), default=0)


def _without_engine(store: Store, step: Step, function: Callable[..., Json], *args: Any) -> Json:
    return function(store, None, step, *args)


def _call(function: Callable[..., Any], root: str, step: Step, *args: Any) -> Any:
    return function(open_store(root), step, *args)
