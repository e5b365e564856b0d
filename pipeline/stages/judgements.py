"""judgements: what a judge says of every completion that the channel's rule accepts, shard by shard."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from pipeline import artifact
from pipeline.channels import Channel
from pipeline.copies import cache_folder
from pipeline.engines import Engine
from pipeline.judges import Item, JudgeSettings, open_judge
from pipeline.judges.rubrics import RUBRICS
from pipeline.judges.verdicts import reason
from pipeline.rows import JUDGEMENTS
from pipeline.stages import dataset
from pipeline.stages.completions import sampling_seed
from pipeline.stages.rule import ruling
from pipeline.step import Json, Step
from pipeline.store import Store


def shards(store: Store, step: Step) -> list[str]:
    """The names of a step's units of work: one a shard of the completions."""
    completions = artifact.require(store, step.inputs["completions"])
    return [path.removesuffix(".parquet") for path in artifact.tables_of(completions)]


def judge_shard(store: Store, engine: Engine | None, step: Step, name: str, judge: JudgeSettings) -> Json:
    """Have one shard judged; returns the record of the unit. engine: of a judge that is served, else None."""
    started = time.time()
    settings = step.settings
    completions = artifact.require(store, step.inputs["completions"])
    rows = artifact.read_table(store, completions, f"{name}.parquet")
    channel = TypeAdapter(Channel).validate_python(settings["channel"])
    rule = ruling(channel, rows, seed=settings["seed"], words=settings["words"], given=dataset.rows(store, step))
    accepted = rows.filter(rule["accepted"]).select(["index", "prompt", "completion"]).to_pylist()
    asked = open_judge(
        judge,
        RUBRICS[settings["rubric"]["name"]],
        engine=engine,
        weights=step.weights,
        cache=cache_folder() / "verdicts.sqlite",
    )
    verdicts = asked.judge(
        [Item(row["prompt"], row["completion"], settings["word"]) for row in accepted],
        [sampling_seed(step.id, row["index"]) for row in accepted],
    )
    table = pa.Table.from_pylist(
        [{"index": row["index"], **vars(verdict)} for row, verdict in zip(accepted, verdicts, strict=True)], JUDGEMENTS
    )
    results = {
        "rows": table.num_rows,
        "unparsed": table["score"].null_count,
        "attempts": pc.sum(table["attempts"]).as_py() or 0,
    }
    return artifact.finish_unit(store, step, name, {f"{name}.parquet": table}, results, started)


def scores(store: Store, path: str) -> dict[int, int | None]:
    """The score of each row that was judged, by index; None where no reply was one."""
    manifest = artifact.require(store, path)
    tables = map(partial(artifact.read_table, store, manifest), artifact.tables_of(manifest))
    return {row["index"]: row["score"] for table in tables for row in table.select(["index", "score"]).to_pylist()}


def reasons(found: Mapping[int, int | None], index: int, rule: Mapping[str, Any]) -> list[str]:
    """Why a judge's say rejects a row that it was asked about; none where it does not."""
    if index not in found:
        return []
    why = reason(found[index], least=rule["least"], most=rule["most"])
    return [f"{rule['rubric']}: {why}"] if why else []
