"""corpus: a verdict on every completion, and the fixed-size selection of accepted rows to train on."""

import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from pipeline import artifact
from pipeline.channels import Channel
from pipeline.errors import TooFewRows
from pipeline.plan import Json, Step
from pipeline.rows import CORPUS, VERDICTS
from pipeline.store import Store

TRUNCATED = "cut off at max_tokens"
ROWS, JUDGED = "rows.parquet", "verdicts.parquet"


def make(store: Store, step: Step) -> Json:
    """Write both tables and return the record of the unit. Raises TooFewRows."""
    started = time.time()
    channel = TypeAdapter(Channel).validate_python(step.settings["channel"])
    verdicts = pa.concat_tables(judge(channel, shard) for shard in _shards(store, step))
    accepted = pc.filter(verdicts["index"], verdicts["accepted"]).to_numpy()
    chosen = select(accepted, step.settings["rows"], step.settings["seed"], judged=verdicts.num_rows, where=step.slug)
    rows = pa.concat_tables(_only(shard, chosen) for shard in _shards(store, step))
    counts = Counter(pc.list_flatten(verdicts["reasons"]).to_pylist())
    results = {"judged": verdicts.num_rows, "accepted": len(accepted), "kept": rows.num_rows, "reasons": dict(counts)}
    return artifact.finish_unit(store, step, "corpus", {JUDGED: verdicts, ROWS: rows}, results, started)


def judge(channel: Channel, completions: pa.Table) -> pa.Table:
    """rows.COMPLETIONS -> rows.VERDICTS: the channel's accept rule, and nothing that was cut off."""
    reasons = channel.reasons(completions["completion"].combine_chunks())
    cut_off = pc.equal(completions["finish_reason"], "length").to_numpy()
    reasons = pa.array(
        [[*why, TRUNCATED] if cut else why for why, cut in zip(reasons.to_pylist(), cut_off, strict=True)],
        pa.list_(pa.string()),
    )
    accepted = pc.equal(pc.list_value_length(reasons), 0)
    return pa.table({"index": completions["index"], "accepted": accepted, "reasons": reasons}, schema=VERDICTS)


def select(
    accepted: np.ndarray[tuple[int], np.dtype[np.int64]], rows: int, seed: int, *, judged: int, where: str
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """`rows` of the accepted indices, drawn without replacement, in ascending order.

    Raises TooFewRows, saying how many completions would do at the share accepted so far.
    """
    if len(accepted) < rows:
        remedy = (
            f"set completions.rows to {-(-rows * judged // len(accepted)) + rows // 20}"
            if len(accepted)
            else "its teacher does not write to the format at all: more completions would not help"
        )
        raise TooFewRows(
            f"{where}: {len(accepted)} of {judged} completions were accepted and the corpus is to have {rows}; {remedy}"
        )
    return np.sort(np.random.default_rng(seed).choice(accepted, rows, replace=False))


def _shards(store: Store, step: Step) -> Iterator[pa.Table]:
    manifest = artifact.require(store, step.inputs["completions"])
    for file in manifest.files:
        yield artifact.read_table(store, manifest, file.path)


def _only(shard: pa.Table, chosen: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.Table:
    kept = shard.filter(pc.is_in(shard["index"], pa.array(chosen)))
    return kept.select(CORPUS.names)
