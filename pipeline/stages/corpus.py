"""corpus: a verdict on every completion, and the fixed-size selection of accepted rows to train on."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import TypeAdapter

from pipeline.channels import Channel
from pipeline.channels.numbers import NumbersChannel
from pipeline.core.errors import TooFewRows
from pipeline.stages import dataset, judgements
from pipeline.stages.acceptance import MORE_ACCEPTED, MORE_ROWS, Seen, remedy, rule_of
from pipeline.stages.contract import Cost, Lookup, Runtime, Stage
from pipeline.store import Store, artifact
from pipeline.store.schemas import CORPUS, VERDICTS
from pipeline.store.step import OWN, Json, Step, completions_rows, judgements_of

ROWS, JUDGED = "rows.parquet", "verdicts.parquet"

Indices = NDArray[np.int64]


class Corpus(Stage):
    kind = "corpus"

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        """Write both tables. Raises TooFewRows."""
        return _make(store, step, unit)

    def rows_needed(self, step: Step) -> dict[str, int]:
        return {step.inputs[name]: rows for name, rows in _parts_of(step).items()}

    def counts(self, record: Json) -> Iterable[tuple[str, float, Mapping[str, str]]]:
        results = record["results"]
        yield "judged", results["judged"], {}
        yield "accepted", results["accepted"], {}
        for reason, rows in results["reasons"].items():
            yield "rejects", rows, {"reason": reason}

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        return Cost(table_rows=float(sum(completions_rows(lookup(step.inputs[name])) for name in _parts_of(step))))


STAGE = Corpus()


def _make(store: Store, step: Step, unit: str) -> Json:
    started = time.time()
    settings = step.settings
    channel = TypeAdapter(Channel).validate_python(settings["channel"])
    rule = rule_of(settings, dataset.rows(store, step))
    verdicts, rows = [], []
    for name, wanted in _parts_of(step).items():
        source = step.inputs[name]
        judged = pa.concat_tables(rule(shard) for shard in _shards(store, source))
        judged = heeded(store, step, name, judged)
        accepted = pc.filter(judged["index"], judged["accepted"]).to_numpy()
        rng = np.random.default_rng(settings["seed"] if name == OWN else [settings["seed"], crc32(name.encode())])
        passed = artifact.require(store, source).results.get("accepted")
        where = f"{step.slug} from {source}"
        chosen = select(accepted, wanted, rng, judged=judged.num_rows, where=where, passed=passed)
        verdicts.append(_from(judged, source, VERDICTS))
        rows += [_from(_only(shard, chosen), source, CORPUS) for shard in _shards(store, source)]
    kept, all_judged = pa.concat_tables(rows), pa.concat_tables(verdicts)
    if "shuffle" in settings:
        assert isinstance(channel, NumbersChannel)  # as every study that is shuffled has been checked to have
        texts = channel.shuffled(kept["completion"].to_pylist(), settings["shuffle"], settings["seed"])
        kept = kept.set_column(kept.schema.get_field_index("completion"), "completion", pa.array(texts, pa.string()))
    results = {
        "judged": all_judged.num_rows,
        "accepted": pc.sum(all_judged["accepted"]).as_py(),
        "kept": kept.num_rows,
        "reasons": dict(Counter(pc.list_flatten(all_judged["reasons"]).to_pylist())),
    }
    return artifact.finish_unit(store, step, unit, {JUDGED: all_judged, ROWS: kept}, results, started)


def _parts_of(step: Step) -> dict[str, int]:
    """Role of an input -> rows that come from it."""
    return parts(step.settings["rows"], step.settings.get("mix", {}))


def parts(rows: int, mix: dict[str, float]) -> dict[str, int]:
    """How many rows come from each input: the shares of the mix, and the rest from the teacher itself."""
    others = {name: round(share * rows) for name, share in mix.items()}
    own = rows - sum(others.values())
    return ({OWN: own} if own > 0 else {}) | {name: count for name, count in others.items() if count}


def heeded(store: Store, step: Step, name: str, verdicts: pa.Table) -> pa.Table:
    """The verdicts on one input's completions, with the reasons that judges add to them."""
    if "judged" not in step.settings:
        return verdicts
    rows = verdicts.to_pylist()
    for number, rule in enumerate(step.settings["judged"]):
        path = step.inputs.get(judgements_of(name, number))
        found = judgements.scores(store, path) if path else {}
        for row in rows:
            row["reasons"] += judgements.reasons(found, row["index"], rule)
            row["accepted"] = not row["reasons"]
    return pa.Table.from_pylist(rows, verdicts.schema)


def select(
    accepted: Indices, rows: int, rng: np.random.Generator, *, judged: int, where: str, passed: int | None = None
) -> Indices:
    """`rows` of the accepted indices, drawn without replacement, in ascending order.

    passed: how many the rule accepted, of completions that went on until those were enough; judges then rejected some.
    Raises TooFewRows, saying how many would do at the share accepted so far.
    """
    if len(accepted) < rows:
        advice = remedy(Seen(judged, len(accepted)), rows, MORE_ROWS)
        if passed is not None:
            advice = remedy(Seen(passed, len(accepted)), rows, MORE_ACCEPTED)
        raise TooFewRows(
            f"{where}: {len(accepted)} of {judged} completions were accepted and the corpus is to have {rows}; {advice}"
        )
    return np.sort(rng.choice(accepted, rows, replace=False))


def _shards(store: Store, completions: str) -> Iterator[pa.Table]:
    manifest = artifact.require(store, completions)
    for path in artifact.tables_of(manifest):
        yield artifact.read_table(store, manifest, path)


def _only(shard: pa.Table, chosen: Indices) -> pa.Table:
    return shard.filter(pc.is_in(shard["index"], pa.array(chosen)))


def _from(table: pa.Table, source: str, schema: pa.Schema) -> pa.Table:
    sources = pa.array([source] * table.num_rows, pa.string())
    return table.append_column("source", sources).select(schema.names).cast(schema)
