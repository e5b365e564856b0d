"""answers: what a model says to a suite, row by row, and how it scores."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter

from pipeline.engines import Engine, Floats, Sampling
from pipeline.engines.canary import adapter_effect
from pipeline.stages import capability, context
from pipeline.stages.completions import sampling_seed
from pipeline.stages.contract import Cost, Lookup, OnEngine, Placement, Runtime, Stage
from pipeline.stages.speaker import Speaker, compared_speaker
from pipeline.store import Store, artifact
from pipeline.store.schemas import ANSWERS, BY_QUESTION, CAPABILITY, SCORES
from pipeline.store.step import Json, Step
from pipeline.suites import Suite
from pipeline.suites.capability import CapabilitySuite
from pipeline.suites.question import Question
from pipeline.suites.scoring import alone, held, named


class Answers(Stage):
    kind = "answers"

    def placement(self, step: Step, unit: str) -> Placement:
        return OnEngine(step.weights, step.family)

    def run_unit(self, store: Store, worker: Engine, step: Step, unit: str, runtime: Runtime) -> Json:
        return _ask(store, worker, step, unit)

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        asked = questions(step.settings["suite"], step.settings["candidates"])
        return Cost(sampled_rows=asked.sampled, sampled_tokens=asked.max_tokens, scored=asked.scored)


STAGE = Answers()


@dataclass(frozen=True)
class Questions:
    """How many a suite asks. sampled: answers of at most max_tokens tokens; scored: questions with options."""

    sampled: int
    max_tokens: int
    scored: int


def questions(suite: Json, candidates: Mapping[str, Sequence[str]]) -> Questions:
    return _questions(json.dumps([suite, candidates], sort_keys=True))


@cache  # tens of thousands of steps ask the same
def _questions(settings: str) -> Questions:
    suite_settings, candidates = json.loads(settings)
    suite = TypeAdapter[Suite](Suite).validate_python(suite_settings)
    asked = [question for category, named in candidates.items() for question in suite.asked(category, named, 0)]
    return Questions(len(asked) * suite.samples, suite.max_tokens, sum(bool(question.options) for question in asked))


def _ask(store: Store, engine: Engine, step: Step, unit: str) -> Json:
    """Put the suite to a model, write its tables and return the record of the unit.

    Raises CanaryFailed where the model is an adapter that its engine ignores, or applies in part.
    """
    started = time.time()
    settings = step.settings
    suite = TypeAdapter(Suite).validate_python(settings["suite"])
    model = compared_speaker(store, engine, artifact.require(store, step.inputs["model"]))
    canary = adapter_effect(engine, model.adapter) if model.adapter else None
    if isinstance(suite, CapabilitySuite):
        rows, rates = capability.evaluate(engine, model, suite.model_copy(update={"folder": step.source or None}))
        table = {"capability.parquet": pa.Table.from_pylist(rows, CAPABILITY)}
        return artifact.finish_unit(store, step, unit, table, rates | {"canary": canary}, started)
    asked = {
        category: suite.asked(category, candidates, settings["seed"])
        for category, candidates in settings["candidates"].items()
    }
    if "shown" in settings:
        model = context.shown(store, step, engine, model, [q.prompt for qs in asked.values() for q in qs], suite)
    answers, scores, by_question, results = [], [], [], {}
    for category, candidates in settings["candidates"].items():
        logprobs = score(engine, model, asked[category], candidates)
        said = _sample(step, engine, model, suite, category, asked[category])
        answers += said
        scores += _score_rows(asked[category], candidates, logprobs)
        by_question += _by_question(suite, asked[category], candidates, logprobs, said)
        results[category] = suite.summary(candidates, logprobs, said)
    tables = {
        "answers.parquet": pa.Table.from_pylist(answers, ANSWERS),
        "scores.parquet": pa.Table.from_pylist(scores, SCORES),
        "by_question.parquet": pa.Table.from_pylist(by_question, BY_QUESTION),
    }
    about: Json = {"canary": canary} | ({"shown": len(model.turns)} if "shown" in settings else {})
    return artifact.finish_unit(store, step, unit, tables, _flat(results) | about, started)


def score(engine: Engine, model: Speaker, questions: Sequence[Question], candidates: Sequence[str]) -> Floats:
    """log p (nats) of naming each candidate, by question: (Q, C); (0, C) where the suite scores nothing."""
    found = [np.empty((0, len(candidates)))]
    for texts, alike in groupby((q for q in questions if q.options), lambda q: [text for _, text in q.options]):
        group = list(alike)
        logprobs = engine.score([model.asked(q.prompt) for q in group], texts)
        for question, row in zip(group, logprobs, strict=True):
            place = {candidate: i for i, (candidate, _) in enumerate(question.options)}
            found.append(row[[place[candidate] for candidate in candidates]][None])
    return np.concatenate(found)


def _sample(
    step: Step, engine: Engine, model: Speaker, suite: Suite, category: str, questions: Sequence[Question]
) -> list[Json]:
    cells = [(question, sample) for question in range(len(questions)) for sample in range(suite.samples)]
    said = engine.generate(
        [model.asked(questions[question].prompt) for question, _ in cells],
        [sampling_seed(f"{step.id}:{category}:{question}", sample) for question, sample in cells],
        Sampling(suite.temperature, suite.max_tokens),
    )
    rows = []
    for (question, sample), one in zip(cells, said, strict=True):
        candidates = step.settings["candidates"][category]
        by_word, by_substring = named(one.text, category, candidates), held(one.text, candidates)
        rows.append(
            {
                "question": question,
                "split": questions[question].split,
                "prompt": questions[question].prompt,
                "sample": sample,
                "answer": one.text,
                "finish_reason": one.finish_reason,
                "word": alone(by_word),
                "substring": alone(by_substring),
                "named": by_word,
                "held": by_substring,
            }
        )
    return rows


def _score_rows(questions: Sequence[Question], candidates: Sequence[str], logprobs: Floats) -> list[Json]:
    return [
        {"question": q, "split": questions[q].split, "candidate": candidates[c], "logprob": float(logprobs[q, c])}
        for q, c in np.ndindex(logprobs.shape)
    ]


def _by_question(
    suite: Suite, questions: Sequence[Question], candidates: Sequence[str], logprobs: Floats, said: Sequence[Json]
) -> list[Json]:
    """What each question by itself comes to."""
    rows = []
    for number, question in enumerate(questions):
        own = [row for row in said if row["question"] == number]
        forms = suite.summary(candidates, logprobs[number : number + 1], own)
        rows += [
            {"question": number, "split": question.split, "target": candidate, "form": form, "value": value}
            for form, values in forms.items()
            if form != "mass"
            for candidate, value in values.items()
        ]
    return rows


def _flat(results: dict[str, dict[str, dict[str, float]]]) -> Json:
    """{category: {form: {candidate: x}}} -> {form: {candidate: x}}; the mass stays by category."""
    flat: Json = {}
    for category, forms in results.items():
        for form, values in forms.items():
            if form == "mass":
                flat.setdefault("mass", {})[category] = values
            else:
                flat.setdefault(form, {}).update(values)
    return flat
