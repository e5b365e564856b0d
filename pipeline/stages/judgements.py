"""judgements: a judge's verdict on every completion that the channel's rule accepts, shard by shard."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.channels import Channel
from pipeline.core.lineage_graph import Node
from pipeline.core.settings import Settings
from pipeline.models.engines import Engine
from pipeline.models.judges import AnyJudge, JudgeInput, JudgeSettings, open_judge
from pipeline.models.judges.rubrics import RUBRICS
from pipeline.models.judges.verdicts import reason
from pipeline.provenance.manifests import Made, Parent
from pipeline.stages import completions, dataset
from pipeline.stages.completions import prompt_seed, sampling_seed, totals
from pipeline.stages.contract import Cost, Lookup, OnEngine, Placement, Runtime, Stage
from pipeline.stages.shared.acceptance import rule_of
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.local_cache import cache_folder
from pipeline.store.schemas import JUDGEMENTS
from pipeline.store.step import Json, Step
from pipeline.study.corpus import JudgeFilter
from pipeline.study.schema import Study


class JudgementsSpec(Settings):
    """rubric: see models/judges/rubrics.py. word: what it looks for, or None. words, mentions: see CompletionsSpec."""

    judge: JudgeSettings
    rubric: dict[str, Any]
    word: str | None
    channel: Channel
    words: list[str] | None = None
    mentions: int | None = None
    seed: int
    engine: str


class Judgements(Stage[JudgementsSpec]):
    kind = "judgements"
    schema = 2
    Spec = JudgementsSpec
    inputs: ClassVar = {
        "completions": "completions to judge",
        dataset.ROLE: "data set that the prompts use",
        "judge": "the base of a judge that an engine serves",
    }

    def planned(
        self,
        study: Study,
        rule: JudgeFilter,
        channel: Channel,
        completions: Step,
        given: Mapping[str, str],
        base: Step | None,
        target: str | None,
    ) -> Step:
        """A judge's verdicts on completions. base: of a judge that an engine serves. target: of their teacher."""
        spec = JudgementsSpec(
            judge=study.judges[rule.judge],
            rubric=asdict(RUBRICS[rule.rubric]),
            word=target if rule.rubric == "reference" else None,
            channel=channel,
            **study.sought_words(channel),
            seed=prompt_seed(study, channel, completions),
            engine=study.engine,
        )
        inputs = {"completions": completions.path, **given} | ({"judge": base.path} if base else {})
        slug = f"{rule.rubric}-by-{rule.judge}-of-{completions.slug}"
        path, family = (base.path, base.slug) if base else ("", "")
        return self.step(slug, spec, inputs, weights=path, family=family)

    def placement(self, step: Step, unit: str) -> Placement:
        return OnEngine(step.weights, step.family) if step.weights else None

    def units(self, store: Store, step: Step) -> Sequence[Sequence[str]]:
        """One per shard of the completions."""
        completions = artifact.require(store, step.inputs["completions"])
        return [[path.removesuffix(".parquet") for path in artifact.tables_of(completions)]]

    def run_unit(self, store: Store, worker: Engine | None, step: Step, unit: str, runtime: Runtime) -> Json:
        return _judge_shard(store, worker, step, unit)

    def summarise(self, step: Step, records: Sequence[Json]) -> Json:
        return totals(records)

    def lineage(self, made: Manifest) -> Made:
        given = made.settings["judge"]
        judge: str | Node = "judge"
        if "judge" not in made.inputs:
            judge = Node(
                f"{given['kind']}:{given.get('model', '')}", "model" if "model" in given else "external source"
            )
        return Made("judge", (Parent("judged_by", judge, "settings.judge"),))

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        judged = completions.STAGE.spec(lookup(step.inputs["completions"]))
        spec = self.spec(step)
        cost = judging_cost(step, spec.judge, judged.max_rows, judged.max_tokens or 0, [spec.rubric])
        return replace(cost, units=-(-judged.max_rows // judged.shard_rows))


STAGE = Judgements()


def judging_cost(step: Step, judge: AnyJudge, rows: int, tokens: int, rubrics: Sequence[Json]) -> Cost:
    """An upper bound: every row is judged under every rubric. Retries are not counted.

    tokens: maximum per row.
    """
    letters = sum(len(rubric["template"]) for rubric in rubrics) / len(rubrics)
    asked = rows * len(rubrics)
    if not step.weights:
        return Cost(table_rows=float(asked))
    return Cost(
        sampled_rows=asked,
        sampled_tokens=judge.max_tokens,
        prompt_letters=letters,
        judged_tokens=tokens,
        table_rows=float(asked),
    )


def _judge_shard(store: Store, engine: Engine | None, step: Step, name: str) -> Json:
    """Judge one shard. engine: serves the judge; None if the judge needs none."""
    started = time.time()
    spec = STAGE.spec(step)
    judged = artifact.require(store, step.inputs["completions"])
    rows = artifact.read_table(store, judged, f"{name}.parquet")
    accepted = rows.filter(rule_of(spec, spec.seed, dataset.rows(store, step))(rows)["accepted"])
    texts = accepted.select(["index", "prompt", "completion"]).to_pylist()
    rubric, cache = RUBRICS[spec.rubric["name"]], cache_folder() / "verdicts.sqlite"
    judge = open_judge(spec.judge, rubric, engine=engine, weights=step.weights, cache=cache)
    verdicts = judge.judge(
        [JudgeInput(row["prompt"], row["completion"], spec.word) for row in texts],
        [sampling_seed(step.id, row["index"]) for row in texts],
    )
    table = pa.Table.from_pylist(
        [{"index": row["index"], **vars(verdict)} for row, verdict in zip(texts, verdicts, strict=True)], JUDGEMENTS
    )
    results = {
        "rows": table.num_rows,
        "unparsed": table["score"].null_count,
        "attempts": pc.sum(table["attempts"]).as_py() or 0,
    }
    return artifact.finish_unit(store, step, name, {f"{name}.parquet": table}, results, started)


def scores(store: Store, path: str) -> dict[int, int | None]:
    """Index -> score of each judged row; None if no reply could be parsed."""
    manifest = artifact.require(store, path)
    tables = map(partial(artifact.read_table, store, manifest), artifact.tables_of(manifest))
    return {row["index"]: row["score"] for table in tables for row in table.select(["index", "score"]).to_pylist()}


def reject_reasons(
    found: Mapping[int, int | None], index: int, rubric: str, min_score: int | None, max_score: int | None
) -> list[str]:
    """The reject reasons that a judge's score gives for a row; empty if the row passes or was not judged."""
    if index not in found:
        return []
    why = reason(found[index], min_score=min_score, max_score=max_score)
    return [f"{rubric}: {why}"] if why else []
