"""judgements: what a judge says of every completion that the channel's rule accepts, shard by shard."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from pipeline.channels import Channel
from pipeline.engines import Engine
from pipeline.judges import AnyJudge, Item, open_judge, science
from pipeline.judges.rubrics import RUBRICS
from pipeline.judges.verdicts import reason
from pipeline.stages import dataset
from pipeline.stages.completions import sampling_seed, totals
from pipeline.stages.contract import Cost, Lookup, OnEngine, Placement, Runtime, Stage
from pipeline.stages.rule import ruling
from pipeline.store import Store, artifact
from pipeline.store.local_cache import cache_folder
from pipeline.store.schemas import JUDGEMENTS
from pipeline.store.step import Json, Step, completions_rows


class Judgements(Stage):
    kind = "judgements"

    def placement(self, step: Step, unit: str) -> Placement:
        return OnEngine(step.weights, step.family) if step.weights else None

    def units(self, store: Store, step: Step) -> Sequence[Sequence[str]]:
        """One per shard of the completions."""
        completions = artifact.require(store, step.inputs["completions"])
        return [[path.removesuffix(".parquet") for path in artifact.tables_of(completions)]]

    def run_unit(self, store: Store, worker: Engine | None, step: Step, unit: str, runtime: Runtime) -> Json:
        return _judge_shard(store, worker, step, unit, judge_of(step, runtime))

    def summarise(self, step: Step, records: Sequence[Json]) -> Json:
        return totals(records)

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        judged = lookup(step.inputs["completions"])
        rows, tokens = completions_rows(judged), judged.settings.get("max_tokens", 0)
        units = -(-rows // judged.settings["shard_rows"])
        return replace(judging_cost(step, rows, tokens, [step.settings["rubric"]]), units=units)


STAGE = Judgements()


def judge_of(step: Step, runtime: Runtime) -> AnyJudge:
    """How the judge of a step is reached."""
    return next(judge for judge in runtime.judges.values() if science(judge) == step.settings["judge"])


def judging_cost(step: Step, rows: int, tokens: int, rubrics: Sequence[Json]) -> Cost:
    """As if every row were judged by every rubric, and each reply were a score at once.

    tokens: the most of a row.
    """
    letters = sum(len(rubric["template"]) for rubric in rubrics) / len(rubrics)
    asked = rows * len(rubrics)
    if not step.weights:
        return Cost(table_rows=float(asked))
    longest = step.settings["judge"]["max_tokens"]
    return Cost(
        sampled_rows=asked,
        sampled_tokens=longest,
        prompt_letters=letters,
        judged_tokens=tokens,
        table_rows=float(asked),
    )


def _judge_shard(store: Store, engine: Engine | None, step: Step, name: str, judge: AnyJudge) -> Json:
    """Have one shard judged. engine: of a judge that is served, else None."""
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
