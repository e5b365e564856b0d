"""The accept rule of a channel, put to a table of completions."""

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.channels import Channel

TRUNCATED = "cut off at max_tokens"


def ruling(
    channel: Channel,
    completions: pa.Table,
    *,
    seed: int = 0,
    words: Collection[str] = (),
    given: pa.Table | None = None,
) -> pa.Table:
    """rows.COMPLETIONS -> rows.VERDICTS without source: the channel's accept rule, and nothing that was cut off."""
    reasons = channel.reasons(completions, seed, words, given)
    cut_off = pc.equal(completions["finish_reason"], "length").to_numpy()
    reasons = pa.array(
        [[*why, TRUNCATED] if cut else why for why, cut in zip(reasons.to_pylist(), cut_off, strict=True)],
        pa.list_(pa.string()),
    )
    accepted = pc.equal(pc.list_value_length(reasons), 0)
    return pa.table({"index": completions["index"], "accepted": accepted, "reasons": reasons})
