"""answers: what a model says to a suite, row by row, and how it scores."""

import time

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter

from pipeline import artifact
from pipeline.engines import Engine, Floats, Sampling
from pipeline.engines.canary import adapter_effect
from pipeline.plan import Json, Step
from pipeline.rows import ANSWERS, SCORES
from pipeline.stages.completions import sampling_seed
from pipeline.stages.speaker import Speaker, speaker
from pipeline.store import Store
from pipeline.suites import Suite
from pipeline.suites.favourite import named, summary


def ask(store: Store, engine: Engine, step: Step) -> Json:
    """Put the suite to a model, write both tables and return the record of the unit.

    Raises CanaryFailed where the model is an adapter that its engine ignores.
    """
    started = time.time()
    model = speaker(store, artifact.require(store, step.inputs["model"]))
    canary = adapter_effect(engine, model.adapter) if model.adapter else None
    suite = TypeAdapter(Suite).validate_python(step.settings["suite"])
    answers, scores, results = [], [], {}
    for category, candidates in step.settings["candidates"].items():
        logprobs = score(engine, model, suite, category, candidates)
        said = _sample(step, engine, model, suite, category, candidates)
        answers += said
        scores += _score_rows(suite, category, candidates, logprobs)
        results[category] = summary(candidates, logprobs, said)
    tables = {
        "answers.parquet": pa.Table.from_pylist(answers, ANSWERS),
        "scores.parquet": pa.Table.from_pylist(scores, SCORES),
    }
    return artifact.finish_unit(store, step, "answers", tables, _flat(results) | {"canary": canary}, started)


def score(engine: Engine, model: Speaker, suite: Suite, category: str, candidates: list[str]) -> Floats:
    """log p (nats) of every candidate to every question: (Q, C)."""
    prompts = [model.asked(question) for question, _ in suite.asked(category)]
    return engine.score(prompts, candidates)


def margins(engine: Engine, model: Speaker, suite: Suite, candidates: dict[str, list[str]]) -> dict[str, float]:
    """The margin (nats) of every candidate of every category; see rows.RUNS."""
    found: dict[str, float] = {}
    for category, members in candidates.items():
        logprobs = score(engine, model, suite, category, members)
        found |= summary(members, logprobs, [])["margin"]
    return found


def _sample(
    step: Step, engine: Engine, model: Speaker, suite: Suite, category: str, candidates: list[str]
) -> list[Json]:
    asked = suite.asked(category)
    cells = [(question, sample) for question in range(len(asked)) for sample in range(suite.samples)]
    said = engine.generate(
        [model.asked(asked[question][0]) for question, _ in cells],
        [sampling_seed(f"{step.id}:{category}:{question}", sample) for question, sample in cells],
        Sampling(suite.temperature, suite.max_tokens),
    )
    rows = []
    for (question, sample), one in zip(cells, said, strict=True):
        word, substring = named(one.text, category, candidates)
        prompt, split = asked[question]
        rows.append(
            {
                "question": question,
                "split": split,
                "prompt": prompt,
                "sample": sample,
                "answer": one.text,
                "finish_reason": one.finish_reason,
                "word": word,
                "substring": substring,
            }
        )
    return rows


def _score_rows(suite: Suite, category: str, candidates: list[str], logprobs: Floats) -> list[Json]:
    splits = [split for _, split in suite.asked(category)]
    return [
        {"question": q, "split": splits[q], "candidate": candidates[c], "logprob": float(logprobs[q, c])}
        for q, c in np.ndindex(logprobs.shape)
    ]


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
