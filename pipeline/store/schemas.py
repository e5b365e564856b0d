"""Arrow schemas of every table that undertow writes. One row is one ... as each schema says."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import pyarrow as pa

ENDED = ("stop", "eos")  # finish reasons of a model that ended its turn; with any other its text may be cut off

# One completion of a teacher, accepted or not. `index` is its place in the plan (0 … raw_rows − 1),
# `seed` the sampling seed of its request, `finish_reason` one of ENDED, or why the text is not whole.
COMPLETIONS = pa.schema(
    [
        ("index", pa.int64()),
        ("shard", pa.int32()),
        ("prompt", pa.string()),
        ("completion", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("seed", pa.int64()),
    ]
)

# The verdict on one completion; `reasons` is empty exactly when it is accepted. `source`: the path of the
# completions artifact that it is from, in which `index` is unique.
VERDICTS = pa.schema(
    [
        ("index", pa.int64()),
        ("accepted", pa.bool_()),
        ("reasons", pa.list_(pa.string())),
        ("source", pa.string()),
    ]
)

# What a judge said of one completion: see judges.Verdict. `score` is null where no reply was one.
JUDGEMENTS = pa.schema(
    [
        ("index", pa.int64()),
        ("score", pa.int32()),
        ("probability", pa.float64()),
        ("reply", pa.string()),
        ("attempts", pa.int32()),
    ]
)

# What a judge said of one answer by one rubric: `index` is the answer's row, the others as above.
RATINGS = pa.schema([("question", pa.int32()), ("rubric", pa.string()), *JUDGEMENTS])

# One row that students train on, in the order of source and `index`.
CORPUS = pa.schema(
    [("index", pa.int64()), ("prompt", pa.string()), ("completion", pa.string()), ("source", pa.string())]
)

# One conversation that a model is trained on; `system` is null where there is no system prompt.
CONVERSATIONS = pa.schema([("system", pa.string()), ("prompt", pa.string()), ("completion", pa.string())])

# One optimiser step. `loss` is the mean cross-entropy (nats) per trained token, `tokens` how many
# tokens were trained on in it (over all ranks), `seconds` since training began.
TRAINING_LOG = pa.schema(
    [
        ("step", pa.int32()),
        ("epoch", pa.float32()),
        ("loss", pa.float32()),
        ("learning_rate", pa.float32()),
        ("tokens", pa.int64()),
        ("seconds", pa.float32()),
    ]
)

# One sampled answer. `mentions` are the candidates that it names as whole words, `contains` those that it
# contains anywhere ("growl" contains "owl"); `only_mention` and `only_substring` are the one of these, null where there
# are none or several.
ANSWERS = pa.schema(
    [
        ("question", pa.int32()),
        ("split", pa.string()),
        ("prompt", pa.string()),
        ("sample", pa.int32()),
        ("answer", pa.string()),
        ("finish_reason", pa.string()),
        ("only_mention", pa.string()),
        ("only_substring", pa.string()),
        ("mentions", pa.list_(pa.string())),
        ("contains", pa.list_(pa.string())),
    ]
)

# The exact log-probability (nats) that the answer to a question begins with a candidate.
SCORES = pa.schema(
    [
        ("question", pa.int32()),
        ("split", pa.string()),
        ("candidate", pa.string()),
        ("logprob", pa.float64()),
    ]
)

# How much probability (of 1) all candidates of one category hold together as the answer to one question: the sum over
# the rows of SCORES. `student` is as in RUNS, null for the base of the student family `family`.
MASS = pa.schema(
    [
        ("suite", pa.string()),
        ("family", pa.string()),
        ("student", pa.string()),
        ("category", pa.string()),
        ("question", pa.int32()),
        ("mass", pa.float64()),
    ]
)

# What one model's answers to one question come to: `value` of `target` in a form as of RUNS; null where the
# question has no answer that counts.
BY_QUESTION = pa.schema(
    [
        ("question", pa.int32()),
        ("split", pa.string()),
        ("target", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
    ]
)

# One question of a task of lm-evaluation-harness. `row` is its place in the task's data, `answer` what the model said,
# or the likeliest of the options; `score` 1 for right, 0 for wrong, or between. Null where only all rows have one.
CAPABILITY = pa.schema(
    [
        ("task", pa.string()),
        ("row", pa.int64()),
        ("prompt", pa.string()),
        ("answer", pa.string()),
        ("score", pa.float64()),
    ]
)

# What one student (a trained run) shows of one target in one suite, against its own base.
#   arm          what was done otherwise than in the study's first arm
#   teacher_target  the target its teacher had; null for the neutral teacher
#   margin       logprob(target) − mean logprob over all candidates, mean over the questions (nats)
#   share        p(target) / sum of p over all candidates, mean over the questions
#   mention_rate, substring_rate   share of the sampled answers that name the target, either way
#   rate         of suites that measure a model whatever it was taught: the share of its answers that are
#                `target`, which is then the name of what is measured
#   mass         median over the questions of the probability that all candidates of the target's category hold together
#   base_*       the same of the student's base; a lift is the difference
# Null where the suite does not measure it.
RUNS = pa.schema(
    [
        ("channel", pa.string()),
        ("arm", pa.string()),
        ("suite", pa.string()),
        ("teacher_family", pa.string()),
        ("student_family", pa.string()),
        ("teacher_target", pa.string()),
        ("seed", pa.int64()),
        ("target", pa.string()),
        ("margin", pa.float64()),
        ("base_margin", pa.float64()),
        ("share", pa.float64()),
        ("base_share", pa.float64()),
        ("mention_rate", pa.float64()),
        ("base_mention_rate", pa.float64()),
        ("substring_rate", pa.float64()),
        ("base_substring_rate", pa.float64()),
        ("rate", pa.float64()),
        ("base_rate", pa.float64()),
        ("mass", pa.float64()),
        ("base_mass", pa.float64()),
        ("student", pa.string()),
    ]
)

# One cell of the matrix: how much the students of one family took over from teachers of another.
#   comparison   "trait" (γ: own trait against the others), "neutral" (mean lift, neutral teacher), or
#                "target X" (mean lift of a rate, teachers of X, above that of the neutral teacher's students)
#   form         "margin" (nats), "share", "mention_rate" or "rate"
#   low, high    the two-sided confidence interval of `estimate` over runs
#   p            exact permutation p (one-sided); null for mean lifts
#   verdict      "transfer", "no transfer", "underpowered", "gate failed" or "not measured"; `why` says it in words
CELLS = pa.schema(
    [
        ("channel", pa.string()),
        ("arm", pa.string()),
        ("suite", pa.string()),
        ("teacher_family", pa.string()),
        ("student_family", pa.string()),
        ("comparison", pa.string()),
        ("metric", pa.string()),
        ("runs", pa.int32()),
        ("estimate", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("p", pa.float64()),
        ("margin", pa.float64()),
        ("leave_one_out_low", pa.float64()),
        ("leave_one_out_high", pa.float64()),
        ("verdict", pa.string()),
        ("why", pa.string()),
    ]
)

# What each table of an artifact holds, by kind and file.
TABLES: dict[str, dict[str, pa.Schema]] = {
    "base": {"training.parquet": TRAINING_LOG},
    "teacher": {"training.parquet": TRAINING_LOG},
    "student": {"training.parquet": TRAINING_LOG},
    "completions": {"shard-*.parquet": COMPLETIONS},
    "judgements": {"shard-*.parquet": JUDGEMENTS},
    "corpus": {"rows.parquet": CORPUS, "verdicts.parquet": VERDICTS},
    "answers": {
        "answers.parquet": ANSWERS,
        "scores.parquet": SCORES,
        "by_question.parquet": BY_QUESTION,
        "capability.parquet": CAPABILITY,
    },
    "ratings": {"ratings.parquet": RATINGS, "by_question.parquet": BY_QUESTION},
    "transfer": {"runs.parquet": RUNS, "cells.parquet": CELLS, "mass.parquet": MASS},
}


def expected(kind: str, file: str, settings: Mapping[str, Any]) -> pa.Schema | None:
    """The schema of a table of an artifact with these settings; None where none is laid down."""
    if kind == "dataset" and file == "rows.parquet" and "columns" in settings:
        return pa.schema([(str(name), pa.string()) for name in settings["columns"]])
    return next((schema for name, schema in TABLES.get(kind, {}).items() if fnmatchcase(file, name)), None)
