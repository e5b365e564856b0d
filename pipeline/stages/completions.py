"""completions: all completions of a teacher, shard by shard, before any filtering."""

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.channels import Channel
from pipeline.core.lineage_graph import CHANNEL, Node
from pipeline.core.settings import NotInId, Settings
from pipeline.models.engines import Completion, Engine, Sampling
from pipeline.provenance.manifests import Made, Parent
from pipeline.stages import dataset
from pipeline.stages.contract import Cost, Lookup, OnEngine, Placement, Runtime, Stage, Units
from pipeline.stages.shared import acceptance
from pipeline.stages.shared.acceptance import accepted, rule_of
from pipeline.stages.shared.model import ModelHandle, load_compared_model, weights_of
from pipeline.stages.shared.shards import generate
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.schemas import COMPLETIONS
from pipeline.store.step import Json, Step
from pipeline.study.schema import Study
from pipeline.traits import RANDOM


class CompletionsSpec(Settings):
    """Completions of a teacher or, if temperature, max_tokens and engine are None, of a random generator.

    rows: how many; None to generate until `accepted` rows are accepted, out of at_most. words, mentions: the words that
    the channel's rule looks for, and the version of the matching, if acceptance decides when to stop.
    """

    channel: Channel
    seed: int
    shard_rows: int
    rows: int | None = None
    accepted: int | None = None
    words: list[str] | None = None
    mentions: int | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    engine: str | None = None
    at_most: Annotated[int, NotInId()] = 0

    @property
    def max_rows(self) -> int:
        """Maximum number of rows."""
        return self.at_most if self.rows is None else self.rows


class Completions(Stage[CompletionsSpec]):
    kind = "completions"
    schema = 2
    Spec = CompletionsSpec
    inputs: ClassVar = {
        "teacher": "generates the completions; absent for random ones",
        dataset.ROLE: "data set that the prompts use",
    }

    def planned(
        self, study: Study, channel: Channel, number: int, teacher: Step, given: Mapping[str, str], gate: Step | None
    ) -> Step:
        """A teacher's completions for one corpus.

        number: of the corpus, from 1. given: the channel's data set, as inputs. gate: the gate that must pass first.
        """
        sampled = study.completions
        spec = CompletionsSpec(
            **_amount(study, channel, number),
            temperature=sampled.temperature,
            max_tokens=sampled.max_tokens,
            engine=study.engine,
        )
        return self.step(
            f"{channel.kind}-{teacher.slug}{_suffix(number)}",
            spec,
            {"teacher": teacher.path, **given},
            weights=weights_of(teacher, teacher.inputs["base"]),
            family=teacher.family,
            after=(gate.path,) if gate else (),
        )

    def planned_random(self, study: Study, channel: Channel, number: int) -> Step:
        """Random completions, which have no teacher, for one corpus."""
        spec = CompletionsSpec(**_amount(study, channel, number))
        return self.step(f"{channel.kind}-{RANDOM}{_suffix(number)}", spec, {})

    def placement(self, step: Step, unit: str) -> Placement:
        return OnEngine(step.weights, step.family) if has_teacher(step) else None

    def units(self, store: Store, step: Step) -> Sequence[Sequence[str]]:
        return [shards(step)]

    def planned_rows(self, step: Step, unit: str) -> range:
        return _indices(step, _number(unit))

    def run_unit(self, store: Store, worker: Engine | None, step: Step, unit: str, runtime: Runtime) -> Json:
        return _write_shard(store, worker, step, unit) if worker else _draw_shard(store, step, unit)

    async def run(self, step: Step, units: Units) -> list[Json]:
        """The records of the shards to keep: all, or the first ones with enough accepted rows."""
        reader = next(iter(units.needed_rows.values()), step)  # all corpora that read them apply the same rule

        async def count(records: list[Json]) -> int:
            return int(await units.call(acceptance.count, step, reader, records))

        return await generate(
            step.slug, self.spec(step), units.needed_rows, shards(step), units.run, count, units.report
        )

    def summarise(self, step: Step, records: Sequence[Json]) -> Json:
        return totals(records)

    def lineage(self, made: Manifest) -> Made:
        prompts = [Parent("prompted_by", dataset.ROLE)] if dataset.ROLE in made.inputs else []
        writer = Parent("written_by", "teacher", share=1.0)
        if "teacher" not in made.inputs:
            writer = Parent("written_by", Node("random generator", "external source"), "settings.engine", 1.0)
        return Made("data set", (writer, *prompts), ((CHANNEL, made.settings["channel"]["kind"]),))

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        spec = self.spec(step)
        if not has_teacher(step):
            return Cost(table_rows=float(spec.max_rows))
        return Cost(sampled_rows=spec.max_rows, sampled_tokens=spec.max_tokens or 0, units=len(shards(step)))

    def counts(self, record: Json) -> Iterable[tuple[str, float, Mapping[str, str]]]:
        yield "completions", record["results"]["rows"], {}
        yield "tokens", record["results"]["completion_tokens"], {}


STAGE = Completions()


def _suffix(number: int) -> str:
    """What the corpora of one teacher after the first have in their names."""
    return f"-c{number}" if number > 1 else ""


def _seed(seed: int, number: int) -> int:
    """The seed of a corpus: the study's for the first one, and others that no neighbouring study seed gives."""
    if number == 1:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} corpus {number}".encode()).digest()[:4]) % 2**31


def prompt_seed(study: Study, channel: Channel, written: Step) -> int:
    """The seed of a corpus's prompts, for a rule that depends on it; the study's for one that does not."""
    seed: int = written.settings["seed"] if channel.READS_PROMPT else study.seed
    return seed


def _amount(study: Study, channel: Channel, number: int) -> Json:
    """The settings of how many completions to generate, including what decides acceptance if `until` is set."""
    wanted = study.completions
    common = {
        "channel": channel,
        "seed": _seed(study.seed, number),
        "shard_rows": wanted.shard_rows,
        "at_most": wanted.at_most,
    }
    if wanted.until is None:
        return common | {"rows": wanted.rows}
    return common | {"accepted": study.accepted_rows, **study.sought_words(channel)}


def shards(step: Step) -> list[str]:
    """The names of a step's units; with `until`, of the maximum number of shards."""
    spec = STAGE.spec(step)
    count = -(-spec.max_rows // spec.shard_rows)
    return [f"shard-{number:05d}" for number in range(count)]


def has_teacher(step: Step) -> bool:
    """Whether the completions come from a model, not from a random generator."""
    return "teacher" in step.inputs


def _write_shard(store: Store, engine: Engine, step: Step, name: str) -> Json:
    """Generate one shard with a teacher."""
    started = time.time()
    teacher = load_compared_model(store, engine, artifact.require(store, step.inputs["teacher"]))
    given = dataset.rows(store, step)
    table = speak(step, _number(name), teacher, engine, given)
    return _finish(store, step, name, table, given, started)


def _draw_shard(store: Store, step: Step, name: str) -> Json:
    """Write one shard of random completions."""
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
    spec = STAGE.spec(step)
    if spec.accepted is not None:  # so that a later run need not read the rows again
        results["accepted"] = accepted(rule_of(spec, spec.seed, given)(table))
    rows = _indices(step, _number(name))
    return artifact.finish_unit(store, step, name, {f"{name}.parquet": table}, results, started, rows)


def speak(step: Step, shard: int, teacher: ModelHandle, engine: Engine, given: pa.Table | None = None) -> pa.Table:
    """The completions of one shard, as schemas.COMPLETIONS. given: the rows of the channel's data set."""
    spec = STAGE.spec(step)
    indices = _indices(step, shard)
    prompts = [spec.channel.prompt(spec.seed, index, given) for index in indices]
    seeds = [sampling_seed(step.id, index) for index in indices]
    written = engine.generate(
        [teacher.prompt(prompt) for prompt in prompts], seeds, Sampling(spec.temperature or 0.0, spec.max_tokens or 0)
    )
    return _table(shard, indices, prompts, written, seeds)


def draw(step: Step, shard: int) -> pa.Table:
    """One shard of random completions, as schemas.COMPLETIONS."""
    spec = STAGE.spec(step)
    indices = _indices(step, shard)
    written = [Completion(spec.channel.random(spec.seed, index), "stop", 0, 0) for index in indices]
    prompts = [spec.channel.prompt(spec.seed, index) for index in indices]
    return _table(shard, indices, prompts, written, [spec.seed] * len(indices))


def _indices(step: Step, shard: int) -> range:
    spec = STAGE.spec(step)
    first = shard * spec.shard_rows
    end = first + spec.shard_rows
    return range(first, end if spec.rows is None else min(end, spec.rows))


def _table(
    shard: int, indices: range, prompts: Sequence[str], written: Sequence[Completion], seeds: Sequence[int]
) -> pa.Table:
    return pa.table(
        {
            "index": list(indices),
            "shard": [shard] * len(indices),
            "prompt": prompts,
            "completion": [c.text for c in written],
            "prompt_tokens": [c.prompt_tokens for c in written],
            "completion_tokens": [c.completion_tokens for c in written],
            "finish_reason": [c.finish_reason for c in written],
            "seed": seeds,
        },
        schema=COMPLETIONS,
    )


def sampling_seed(step_id: str, index: int) -> int:
    """The seed of a request, 31 bits. It depends on the step and index, not on how work is split."""
    digest = hashlib.blake2b(f"{step_id}:{index}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) >> 1


def totals(records: Sequence[Json]) -> Json:
    """The results of the whole step: sums over its shards."""
    return {key: sum(record["results"][key] for record in records) for key in records[0]["results"]}
