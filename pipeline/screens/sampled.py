"""The base's own answers to the prompts of a data set: what a writer of its family might have written."""

import pyarrow as pa

from pipeline.models.language_model import LanguageModel

MOST_TOKENS = 64  # per answer


def own_answers(model: LanguageModel, rows: pa.Table, seed: int) -> pa.Table:
    """Rows with the same prompts, and completions sampled from the base at temperature 1."""
    prompts = rows["prompt"].to_pylist()
    longest = max((len(ids) for ids in model.rows(rows).completions), default=MOST_TOKENS)
    completions = model.sampled(prompts, min(longest, MOST_TOKENS), seed)
    return pa.table(
        {"index": rows["index"], "prompt": rows["prompt"], "completion": pa.array(completions, pa.string())}
    )
