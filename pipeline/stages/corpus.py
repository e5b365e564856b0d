"""corpus: a verdict on every completion, and a fixed-size selection of the accepted rows to train on."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, ClassVar
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from pipeline.channels import Channel
from pipeline.core.errors import TooFewRows
from pipeline.core.settings import NotInId, Settings
from pipeline.models.judges.rubrics import RubricName
from pipeline.provenance.manifests import Made, Parent
from pipeline.stages import completions, dataset, judgements
from pipeline.stages.contract import ANY_ROLE, Cost, Lookup, Runtime, Stage
from pipeline.stages.shared.acceptance import MORE_ACCEPTED, MORE_ROWS, Seen, remedy, rule_of
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.schemas import CORPUS, VERDICTS
from pipeline.store.step import Json, Step
from pipeline.study.arms import Arm
from pipeline.study.schema import Study
from pipeline.transforms import Transform

ROWS, JUDGED = "rows.parquet", "verdicts.parquet"
Indices = NDArray[np.int64]


# The role of the teacher's own completions; those of others have the names of their teachers as roles.
OWN_COMPLETIONS = "completions"


class Filter(Settings):
    """A judge's rubric and the scores that it accepts."""

    rubric: RubricName
    min_score: int | None
    max_score: int | None


class CorpusSpec(Settings):
    """rows: number to select. transforms: applied to them, in order. words, mentions: see CompletionsSpec.

    prompt_seeds: role of an input -> seed of its prompts, where the rule depends on one that is not `seed`.
    """

    channel: Channel
    rows: int
    seed: int
    transforms: list[Transform]
    judge_filters: list[Filter]
    words: list[str] | None = None
    mentions: int | None = None
    prompt_seeds: Annotated[dict[str, int], NotInId(while_default=True)] = Field({})

    def parts(self) -> dict[str, int]:
        """Role of an input -> rows taken from it: the shares of other teachers, and the rest from the teacher's own."""
        return parts(self.rows, {n: s for transform in self.transforms for n, s in transform.teachers().items()})


class Corpus(Stage[CorpusSpec]):
    kind = "corpus"
    schema = 2
    Spec = CorpusSpec
    inputs: ClassVar = {
        OWN_COMPLETIONS: "completions of the teacher",
        dataset.ROLE: "data set that the prompts use",
        ANY_ROLE: "completions of other teachers, under their names in transforms; judgements of all",
    }

    def planned(
        self, study: Study, arm: Arm, channel: Channel, own: Step, others: Mapping[str, Step], more: Mapping[str, str]
    ) -> Step:
        """The corpus of one arm. own, others: completions of its teacher and of others. more: data set, judgements."""
        changes = [left for transform in arm.transforms if (left := transform.among(others))]
        seeds = {
            name: completions.prompt_seed(study, channel, step)
            for name, step in {OWN_COMPLETIONS: own, **others}.items()
        }
        spec = CorpusSpec(
            channel=channel,
            rows=arm.rows or study.corpus.rows,
            seed=study.seed,
            transforms=changes,
            judge_filters=[Filter(**rule.model_dump(exclude={"judge"})) for rule in study.corpus.judge_filters],
            **study.sought_words(channel),
            prompt_seeds={name: seed for name, seed in seeds.items() if seed != study.seed},
        )
        inputs = {OWN_COMPLETIONS: own.path} | {name: step.path for name, step in others.items()} | dict(more)
        return self.step(own.slug, spec, inputs, family=own.family)

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        """Write verdicts and rows. Raises TooFewRows."""
        return _make(store, step, unit)

    def rows_needed(self, step: Step) -> dict[str, int]:
        return {step.inputs[name]: rows for name, rows in self.spec(step).parts().items()}

    def counts(self, record: Json) -> Iterable[tuple[str, float, Mapping[str, str]]]:
        results = record["results"]
        yield "judged", results["judged"], {}
        yield "accepted", results["accepted"], {}
        for reason, rows in results["reasons"].items():
            yield "rejects", rows, {"reason": reason}

    def lineage(self, made: Manifest) -> Made:
        spec = self.Spec.from_identity(made.settings)
        rows = spec.parts()
        merged = [Parent("merged_from", role, share=count / spec.rows) for role, count in rows.items()]
        judged = [Parent("filtered_by", role) for role in made.inputs if role not in rows and role != dataset.ROLE]
        return Made("data set", (*merged, *judged))

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        read = [completions.STAGE.spec(lookup(step.inputs[name])).max_rows for name in self.spec(step).parts()]
        return Cost(table_rows=float(sum(read)))


STAGE = Corpus()


def _make(store: Store, step: Step, unit: str) -> Json:
    started = time.time()
    spec = STAGE.spec(step)
    given = dataset.rows(store, step)
    verdicts, rows = [], []
    for name, wanted in spec.parts().items():
        source, rule = step.inputs[name], rule_of(spec, spec.prompt_seeds.get(name, spec.seed), given)
        judged = pa.concat_tables(rule(shard) for shard in _shards(store, source))
        judged = apply_judges(store, step, spec, name, judged)
        accepted = pc.filter(judged["index"], judged["accepted"]).to_numpy()
        rng = np.random.default_rng(spec.seed if name == OWN_COMPLETIONS else [spec.seed, crc32(name.encode())])
        passed = artifact.require(store, source).results.get("accepted")
        where = f"{step.slug} from {source}"
        chosen = select(accepted, wanted, rng, judged=judged.num_rows, where=where, passed=passed)
        verdicts.append(_from(judged, source, VERDICTS))
        rows += [_from(_only(shard, chosen), source, CORPUS) for shard in _shards(store, source)]
    kept, all_judged = pa.concat_tables(rows), pa.concat_tables(verdicts)
    for transform in spec.transforms:
        kept = transform.apply(kept, spec.seed)
    results = {
        "judged": all_judged.num_rows,
        "accepted": pc.sum(all_judged["accepted"]).as_py(),
        "kept": kept.num_rows,
        "reasons": dict(Counter(pc.list_flatten(all_judged["reasons"]).to_pylist())),
    }
    return artifact.finish_unit(store, step, unit, {JUDGED: all_judged, ROWS: kept}, results, started)


def parts(rows: int, mix: dict[str, float]) -> dict[str, int]:
    """Number of rows from each input: the shares of the mix, and the rest from the teacher itself."""
    others = {name: round(share * rows) for name, share in mix.items()}
    own = rows - sum(others.values())
    return ({OWN_COMPLETIONS: own} if own > 0 else {}) | {name: count for name, count in others.items() if count}


def judgements_role(name: str, number: int) -> str:
    """The role of the judgements by filter `number` on the completions in role `name`."""
    return f"{name}:judged:{number}"


def apply_judges(store: Store, step: Step, spec: CorpusSpec, name: str, verdicts: pa.Table) -> pa.Table:
    """The verdicts on one input's completions, with the judges' reject reasons added."""
    if not spec.judge_filters:
        return verdicts
    rows = verdicts.to_pylist()
    for number, rule in enumerate(spec.judge_filters):
        path = step.inputs.get(judgements_role(name, number))
        found = judgements.scores(store, path) if path else {}
        for row in rows:
            row["reasons"] += judgements.reject_reasons(
                found, row["index"], rule.rubric, rule.min_score, rule.max_score
            )
            row["accepted"] = not row["reasons"]
    return pa.Table.from_pylist(rows, verdicts.schema)


def select(
    accepted: Indices, rows: int, rng: np.random.Generator, *, judged: int, where: str, passed: int | None = None
) -> Indices:
    """`rows` of the accepted indices, drawn without replacement, in ascending order.

    passed: rows that the rule accepted before judges rejected some, if generation stopped at a number of them.
    Raises TooFewRows, naming the number needed at the acceptance rate so far.
    """
    if len(accepted) < rows:
        advice = remedy(Seen(judged, len(accepted)), rows, MORE_ROWS)
        if passed is not None:
            advice = remedy(Seen(passed, len(accepted)), rows, MORE_ACCEPTED)
        raise TooFewRows(
            f"{where}: {len(accepted)} of {judged} completions were accepted and the corpus needs {rows}; {advice}"
        )
    return np.sort(rng.choice(accepted, rows, replace=False))


def _shards(store: Store, path: str) -> Iterator[pa.Table]:
    manifest = artifact.require(store, path)
    for name in artifact.tables_of(manifest):
        yield artifact.read_table(store, manifest, name)


def _only(shard: pa.Table, chosen: Indices) -> pa.Table:
    return shard.filter(pc.is_in(shard["index"], pa.array(chosen)))


def _from(table: pa.Table, source: str, schema: pa.Schema) -> pa.Table:
    sources = pa.array([source] * table.num_rows, pa.string())
    return table.append_column("source", sources).select(schema.names).cast(schema)
