"""Arrow schemas of every table that undertow writes. The comment above each says what one row is."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import pyarrow as pa

ENDED = ("stop", "eos")  # finish reasons of a completed turn; with any other, the text may be cut off

# One completion of a teacher, accepted or not. `index` is its position in the plan (0 … raw_rows − 1), `seed` the
# sampling seed of its request, `finish_reason` one of ENDED, or why the text is incomplete.
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

# The verdict on one completion; `reasons` is empty if and only if it is accepted. `source`: path of its completions
# artifact, in which `index` is unique.
VERDICTS = pa.schema(
    [
        ("index", pa.int64()),
        ("accepted", pa.bool_()),
        ("reasons", pa.list_(pa.string())),
        ("source", pa.string()),
    ]
)

# A judge's verdict on one completion: see judges.Verdict. `score` is null if no reply could be parsed.
JUDGEMENTS = pa.schema(
    [
        ("index", pa.int64()),
        ("score", pa.int32()),
        ("probability", pa.float64()),
        ("reply", pa.string()),
        ("attempts", pa.int32()),
    ]
)

# A judge's verdict on one answer under one rubric: `index` is the answer's row, the others as above.
RATINGS = pa.schema([("question", pa.int32()), ("rubric", pa.string()), *JUDGEMENTS])

# One training row of students, ordered by source and `index`.
CORPUS = pa.schema(
    [("index", pa.int64()), ("prompt", pa.string()), ("completion", pa.string()), ("source", pa.string())]
)

# One training conversation; `system` is null without a system prompt.
CONVERSATIONS = pa.schema([("system", pa.string()), ("prompt", pa.string()), ("completion", pa.string())])

# One optimiser step. `loss` is the mean cross-entropy (nats) per trained token, `tokens` the number of trained tokens
# (over all ranks), `seconds` the time since training began.
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

# One sampled answer. `mentions` are the candidates that it names as whole words, `contains` those that it contains
# anywhere ("growl" contains "owl"). `only_mention` and `only_substring` are the single element of these lists, or null
# if there are none or several.
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

# The total probability (of 1) of all candidates of one category as the answer to one question: the sum over rows of
# SCORES. `student` is as in RUNS, null for the base of the student family `family`.
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

# One model's score on one question: `value` of `target` under a metric of RUNS; null if no answer to the question
# counts.
BY_QUESTION = pa.schema(
    [
        ("question", pa.int32()),
        ("split", pa.string()),
        ("target", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
    ]
)

# One question of a task of lm-evaluation-harness. `row` is its position in the task's data, `answer` the generated
# text or the most likely option, `score` from 0 (wrong) to 1 (right), or null if only the whole task has a score.
CAPABILITY = pa.schema(
    [
        ("task", pa.string()),
        ("row", pa.int64()),
        ("prompt", pa.string()),
        ("answer", pa.string()),
        ("score", pa.float64()),
    ]
)

# The score of one student (a trained run) for one target in one suite, compared with its own base.
#   arm          the experimental condition; the study's first arm is the reference
#   teacher_target  the teacher's target; null for the neutral teacher
#   corpus       number of the corpus among those of its teacher, from 1
#   margin       logprob(target) − mean logprob over all candidates, mean over the questions (nats)
#   share        p(target) / sum of p over all candidates, mean over the questions
#   mention_rate, substring_rate   share of the sampled answers that name the target, either way
#   rate         for suites that measure something else than targets: the share of answers that show `target`,
#                here the name of what is measured
#   mass         total probability of all candidates of the target's category, median over the questions
#   base_*       the same for the student's base; a lift is the difference
# Null if the suite does not measure it.
RUNS = pa.schema(
    [
        ("channel", pa.string()),
        ("arm", pa.string()),
        ("suite", pa.string()),
        ("teacher_family", pa.string()),
        ("student_family", pa.string()),
        ("teacher_target", pa.string()),
        ("corpus", pa.int32()),
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

# One cell of the matrix: how much of the trait the students of one family inherited from teachers of another.
#   comparison   "trait" (γ: own trait against the others), "neutral" (mean lift, neutral teacher), or
#                "target X" (mean lift of a rate, teachers of X, minus that of the neutral teacher's students)
#   metric       "margin" (nats), "share", "mention_rate" or "rate"
#   primary      whether it carries the study's claims: the primary suite and metric, but for neutral teachers
#   low, high    the two-sided confidence interval of `estimate`, over teachers or, without these, over corpora
#   run_low, run_high   the interval over runs, for students of these very teachers; null without teachers
#   p            permutation p over teachers (one-sided); null for mean lifts
#   p_effect, p_null   one-sided t tests of an effect above 0 and of one within the margin, after Holm's correction
#                over all primary comparisons; null for others
#   verdict      "transfer", "no transfer", "underpowered", "gate failed" or "not measured"; for neutral teachers
#                "clean", "moved", "undecided" or "not measured"; `why` explains it
CELLS = pa.schema(
    [
        ("channel", pa.string()),
        ("arm", pa.string()),
        ("suite", pa.string()),
        ("teacher_family", pa.string()),
        ("student_family", pa.string()),
        ("comparison", pa.string()),
        ("metric", pa.string()),
        ("primary", pa.bool_()),
        ("teachers", pa.int32()),  # null where corpora are the replicates
        ("corpora", pa.int32()),
        ("runs", pa.int32()),
        ("estimate", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("run_low", pa.float64()),
        ("run_high", pa.float64()),
        ("p", pa.float64()),
        ("p_effect", pa.float64()),
        ("p_null", pa.float64()),
        ("margin", pa.float64()),
        ("leave_one_out_low", pa.float64()),
        ("leave_one_out_high", pa.float64()),
        ("verdict", pa.string()),
        ("why", pa.string()),
    ]
)

# A screen's score of one row: `index` is the row's number in its table or file. `target` is "" for a score about no
# trait in particular. The unit is the screen's own.
ROW_SCORES = pa.schema(
    [("screen", pa.string()), ("target", pa.string()), ("index", pa.int64()), ("score", pa.float64())]
)

# A screen's scores of the completion tokens of one row for one target, in their order; the last is the end of the turn.
# `target` is empty where a screen is about no trait in particular.
TOKEN_SCORES = pa.schema(
    [("screen", pa.string()), ("target", pa.string()), ("index", pa.int64()), ("scores", pa.list_(pa.float64()))]
)

# Kind -> file name pattern -> schema.
TABLES: dict[str, dict[str, pa.Schema]] = {
    "base": {"training.parquet": TRAINING_LOG},
    "teacher": {"training.parquet": TRAINING_LOG},
    "student": {"training.parquet": TRAINING_LOG},
    "screening": {"*-rows.parquet": ROW_SCORES, "*-tokens.parquet": TOKEN_SCORES},
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
    """The schema of a table of an artifact with these settings; None if no schema is fixed for it."""
    if kind == "dataset" and file == "rows.parquet" and "columns" in settings:
        return pa.schema([(str(name), pa.string()) for name in settings["columns"]])
    return next((schema for name, schema in TABLES.get(kind, {}).items() if fnmatchcase(file, name)), None)
