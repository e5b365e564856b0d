"""completions: everything that a teacher writes, shard by shard; what is acceptable is not decided here."""

import hashlib
import time

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from pipeline import artifact
from pipeline.channels import Channel
from pipeline.engines import Engine, Sampling
from pipeline.plan import Json, Step
from pipeline.rows import COMPLETIONS
from pipeline.stages.speaker import Speaker, speaker
from pipeline.store import Store


def shards(step: Step) -> list[str]:
    """The names of a step's units of work."""
    count = -(-step.settings["rows"] // step.settings["shard_rows"])
    return [f"shard-{number:05d}" for number in range(count)]


def write_shard(store: Store, engine: Engine, step: Step, name: str) -> Json:
    """Write one shard and return the record of the unit."""
    started = time.time()
    teacher = speaker(store, artifact.require(store, step.inputs["teacher"]))
    table = speak(step, int(name.removeprefix("shard-")), teacher, engine)
    results = {
        "rows": table.num_rows,
        "prompt_tokens": pc.sum(table["prompt_tokens"]).as_py(),
        "completion_tokens": pc.sum(table["completion_tokens"]).as_py(),
    }
    return artifact.finish_unit(store, step, name, {f"{name}.parquet": table}, results, started)


def speak(step: Step, shard: int, teacher: Speaker, engine: Engine) -> pa.Table:
    """The completions of one shard, as rows.COMPLETIONS."""
    settings = step.settings
    channel = TypeAdapter(Channel).validate_python(settings["channel"])
    first = shard * settings["shard_rows"]
    indices = range(first, min(first + settings["shard_rows"], settings["rows"]))
    prompts = [channel.prompt(settings["seed"], index) for index in indices]
    seeds = [sampling_seed(step.id, index) for index in indices]
    said = engine.generate(
        [teacher.asked(prompt) for prompt in prompts], seeds, Sampling(settings["temperature"], settings["max_tokens"])
    )
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


def summarise(records: list[Json]) -> Json:
    """The results of the whole step from those of its shards."""
    return {key: sum(record["results"][key] for record in records) for key in records[0]["results"]}
