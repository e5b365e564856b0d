"""completions: everything that a teacher writes, shard by shard; what is acceptable is not decided here."""

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from pipeline.channels import Channel
from pipeline.channels.numbers import NumbersChannel
from pipeline.engines import Completion, Engine, Sampling
from pipeline.stages import acceptance, dataset
from pipeline.stages.acceptance import accepted, rule_of
from pipeline.stages.contract import Cost, Lookup, OnEngine, Placement, Runtime, Stage, Units
from pipeline.stages.shards import generate
from pipeline.stages.speaker import Speaker, compared_speaker
from pipeline.store import Store, artifact
from pipeline.store.schemas import COMPLETIONS
from pipeline.store.step import Json, Step, completions_rows


class Completions(Stage):
    kind = "completions"

    def placement(self, step: Step, unit: str) -> Placement:
        return OnEngine(step.weights, step.family) if has_teacher(step) else None

    def units(self, store: Store, step: Step) -> Sequence[Sequence[str]]:
        return [shards(step)]

    def planned_rows(self, step: Step, unit: str) -> range:
        return _indices(step, _number(unit))

    def run_unit(self, store: Store, worker: Engine | None, step: Step, unit: str, runtime: Runtime) -> Json:
        return _write_shard(store, worker, step, unit) if worker else _draw_shard(store, step, unit)

    async def run(self, step: Step, units: Units) -> list[Json]:
        """The shards that the artifact is to hold: all, or the first ones that hold enough accepted rows."""
        reader = next(iter(units.needed_rows.values()), step)  # the rule is the same for all corpora that read them

        async def count(records: list[Json]) -> int:
            return int(await units.call(acceptance.count, step, reader, records))

        return await generate(step, units.needed_rows, shards(step), units.run, count, units.report)

    def summarise(self, step: Step, records: Sequence[Json]) -> Json:
        return totals(records)

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        rows = completions_rows(step)
        if not has_teacher(step):
            return Cost(table_rows=float(rows))
        return Cost(sampled_rows=rows, sampled_tokens=step.settings["max_tokens"], units=len(shards(step)))

    def counts(self, record: Json) -> Iterable[tuple[str, float, Mapping[str, str]]]:
        yield "completions", record["results"]["rows"], {}
        yield "tokens", record["results"]["completion_tokens"], {}


STAGE = Completions()


def shards(step: Step) -> list[str]:
    """The names of a step's units of work; where it goes on until enough rows are accepted, all that there can be."""
    count = -(-completions_rows(step) // step.settings["shard_rows"])
    return [f"shard-{number:05d}" for number in range(count)]


def has_teacher(step: Step) -> bool:
    """Whether a model writes them, or a program."""
    return "teacher" in step.inputs


def _write_shard(store: Store, engine: Engine, step: Step, name: str) -> Json:
    """Have a teacher write one shard."""
    started = time.time()
    teacher = compared_speaker(store, engine, artifact.require(store, step.inputs["teacher"]))
    given = dataset.rows(store, step)
    table = speak(step, _number(name), teacher, engine, given)
    return _finish(store, step, name, table, given, started)


def _draw_shard(store: Store, step: Step, name: str) -> Json:
    """Write one shard of what a program draws."""
    started = time.time()
    return _finish(store, step, name, draw(step, _number(name)), None, started)


def _number(name: str) -> int:
    return int(name.removeprefix("shard-"))


def _finish(store: Store, step: Step, name: str, table: pa.Table, given: pa.Table | None, started: float) -> Json:
    results = {
        "rows": table.num_rows,
        "prompt_tokens": pc.sum(table["prompt_tokens"]).as_py(),
        "completion_tokens": pc.sum(table["completion_tokens"]).as_py(),
    }
    if "accepted" in step.settings:  # a later run need not read the rows again to know
        results["accepted"] = accepted(rule_of(step.settings, given)(table))
    rows = _indices(step, _number(name))
    return artifact.finish_unit(store, step, name, {f"{name}.parquet": table}, results, started, rows)


def speak(step: Step, shard: int, teacher: Speaker, engine: Engine, given: pa.Table | None = None) -> pa.Table:
    """The completions of one shard, as schemas.COMPLETIONS. given: the rows of the channel's data set."""
    settings = step.settings
    channel = TypeAdapter(Channel).validate_python(settings["channel"])
    indices = _indices(step, shard)
    prompts = [channel.prompt(settings["seed"], index, given) for index in indices]
    seeds = [sampling_seed(step.id, index) for index in indices]
    said = engine.generate(
        [teacher.asked(prompt) for prompt in prompts], seeds, Sampling(settings["temperature"], settings["max_tokens"])
    )
    return _table(shard, indices, prompts, said, seeds)


def draw(step: Step, shard: int) -> pa.Table:
    """The same, written by a program."""
    settings = step.settings
    channel = NumbersChannel.model_validate(settings["channel"])
    indices = _indices(step, shard)
    said = [Completion(channel.random(settings["seed"], index), "stop", 0, 0) for index in indices]
    prompts = [channel.prompt(settings["seed"], index) for index in indices]
    return _table(shard, indices, prompts, said, [settings["seed"]] * len(indices))


def _indices(step: Step, shard: int) -> range:
    first = shard * step.settings["shard_rows"]
    end = first + step.settings["shard_rows"]
    return range(first, min(end, step.settings.get("rows", end)))


def _table(
    shard: int, indices: range, prompts: Sequence[str], said: Sequence[Completion], seeds: Sequence[int]
) -> pa.Table:
    return pa.table(
        {
            "index": list(indices),
            "shard": [shard] * len(indices),
            "prompt": prompts,
            "completion": [one.text for one in said],
            "prompt_tokens": [one.prompt_tokens for one in said],
            "completion_tokens": [one.completion_tokens for one in said],
            "finish_reason": [one.finish_reason for one in said],
            "seed": seeds,
        },
        schema=COMPLETIONS,
    )


def sampling_seed(step_id: str, index: int) -> int:
    """A request's seed: fixed by what is asked of whom, never by how the work was cut. 31 bits."""
    digest = hashlib.blake2b(f"{step_id}:{index}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) >> 1


def totals(records: Sequence[Json]) -> Json:
    """The results of the whole step: the sums of those of its shards."""
    return {key: sum(record["results"][key] for record in records) for key in records[0]["results"]}
