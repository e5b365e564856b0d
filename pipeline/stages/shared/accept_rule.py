"""Applies the accept rule of a channel to a table of completions."""

from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.channels import Channel
from pipeline.store.schemas import ENDED

TRUNCATED = "cut off at max_tokens"
NOT_ENDED = "did not end its turn"
END_TOKEN = "holds an end token"

# Special tokens that models may leave in their text at the end of a turn or the start of the next: <|im_end|>,
# [|endofturn|] and the like, and tags such as </s> and <end_of_turn>. No channel needs them.
END_TOKENS = (
    r"<[|｜][^<>|｜\s]{1,40}[|｜]>|\[\|\w{1,40}\|\]|</?s>"
    r"|<(?:eos|eot|eod|bos|pad|end_of_\w{1,20}|endof\w{1,20}|start_of_\w{1,20}|turn\|)>|\[/INST\]"
)

Flags = NDArray[np.bool_]


def apply_rule(
    channel: Channel,
    completions: pa.Table,
    *,
    seed: int = 0,
    words: Collection[str] = (),
    given: pa.Table | None = None,
) -> pa.Table:
    """schemas.COMPLETIONS -> schemas.VERDICTS without source, by `reasons`."""
    found = reasons(channel, completions, seed=seed, words=words, given=given)
    accepted = pc.equal(pc.list_value_length(found), 0)
    return pa.table({"index": completions["index"], "accepted": accepted, "reasons": found})


def reasons(
    channel: Channel,
    rows: pa.Table,
    *,
    seed: int = 0,
    words: Collection[str] = (),
    given: pa.Table | None = None,
) -> pa.Array:
    """The reject reasons of each row, empty if it is accepted: (N,) -> list<string> (N,).

    Applies the channel's accept rule, and rejects turns that did not end or that contain an end token. Rows without a
    column finish_reason are not checked for unfinished turns.
    """
    found = channel.reject_reasons(rows, seed, words, given)
    flags = {END_TOKEN: _flags(pc.match_substring_regex(rows["completion"], END_TOKENS))}
    if "finish_reason" in rows.column_names:
        why = rows["finish_reason"]
        cut = _flags(pc.equal(why, "length"))
        flags = {TRUNCATED: cut, NOT_ENDED: ~cut & ~_flags(pc.is_in(why, pa.array(ENDED)))} | flags
    return _with(found, flags)


def _flags(found: pa.ChunkedArray) -> Flags:
    """As a numpy array, with null as False."""
    flags: Flags = pc.fill_null(found, False).to_numpy()
    return flags


def _with(lists: pa.Array, flags: Mapping[str, Flags]) -> pa.Array:
    """Append each reason to the lists of its flagged rows: list<string> (N,), {reason: bool (N,)}."""
    table = np.stack(list(flags.values()), axis=1)  # (N, flags)
    if not table.any():
        return lists
    counts = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    values = pc.list_flatten(lists)
    # Indices of the values, with those of the flagged reasons (numbered after them) inserted at the end of their rows.
    row, reason = np.nonzero(table)
    taken = np.insert(np.arange(len(values)), np.cumsum(counts)[row], len(values) + reason)
    offsets = np.concatenate([[0], np.cumsum(counts + table.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.concat_arrays([values, pa.array(list(flags))]).take(pa.array(taken)))
