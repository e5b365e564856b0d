"""answers: a model's answers to a suite, row by row, and its scores."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from pipeline.core.settings import Settings
from pipeline.models.engines import Completion, Engine, Floats, Prompt, Sampling
from pipeline.models.engines.canary import adapter_effect
from pipeline.stages.completions import sampling_seed
from pipeline.stages.contract import Cost, Lookup, OnEngine, Placement, Runtime, Stage
from pipeline.stages.shared import capability, context
from pipeline.stages.shared.model import ModelHandle, load_compared_model, weights_of
from pipeline.store import Store, artifact
from pipeline.store.schemas import ANSWERS, BY_QUESTION, CAPABILITY, SCORES
from pipeline.store.step import Json, Step
from pipeline.study.arms import Arm
from pipeline.study.schema import Study
from pipeline.suites import Suite
from pipeline.suites.question import Question
from pipeline.suites.scoring import contains, mentions, only
from pipeline.traits import Trait


class AnswersSpec(Settings):
    """candidates: category -> words to find in answers. in_context: corpus rows shown before each question."""

    suite: Suite
    candidates: dict[str, list[str]]
    seed: int
    engine: str
    in_context: context.InContext | None = None


class Answers(Stage[AnswersSpec]):
    kind = "answers"
    schema = 3
    Spec = AnswersSpec
    inputs: ClassVar = {"model": "a base, teacher or student", "corpus": "rows that are shown in context"}

    def planned(self, study: Study, model: Step, base: Step, suite: Suite) -> Step:
        """A model's answers to a suite of the study. base: of its family."""
        slug = _named(model.slug, study, suite)
        weights = weights_of(model, base.path)
        return self.step(slug, _spec(study, suite), {"model": model.path}, weights=weights, family=model.family)

    def planned_for_gate(self, study: Study, model: Step, base: Step, trait: Trait) -> Step:
        """A model's answers to the suite that gates a trait."""
        suite = study.gate_suite(trait)
        if suite in study.suites:
            return self.planned(study, model, base, suite)
        weights = weights_of(model, base.path)
        spec = _spec(study, suite).model_copy(update={"seed": 0})  # the suite draws nothing, so studies share the step
        return self.step(f"{model.slug}-gate", spec, {"model": model.path}, weights=weights, family=model.family)

    def planned_in_context(self, study: Study, arm: Arm, base: Step, corpus: Step, seed: int, suite: Suite) -> Step:
        """Answers of a base that sees rows of a corpus in context instead of training on it; `seed` draws them."""
        slug = _named(f"{corpus.slug}-shown-to-{base.slug}-s{seed}", study, suite)
        rows: int | Literal["all"] = arm.in_context or "all"
        shown = context.InContext(rows=rows, seed=seed)
        spec = _spec(study, suite).model_copy(update={"in_context": shown})
        inputs = {"model": base.path, "corpus": corpus.path}
        return self.step(slug, spec, inputs, weights=base.path, family=base.slug)

    def placement(self, step: Step, unit: str) -> Placement:
        return OnEngine(step.weights, step.family)

    def run_unit(self, store: Store, worker: Engine, step: Step, unit: str, runtime: Runtime) -> Json:
        return _ask(store, worker, step, unit)

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        counts = questions(step)
        return Cost(sampled_rows=counts.sampled, sampled_tokens=counts.max_tokens, scored=counts.scored)

    def counts(self, record: Json) -> Iterable[tuple[str, float, Mapping[str, str]]]:
        # Capability tasks are scored by another library, which counts none.
        yield "tokens", record["results"].get("completion_tokens", 0), {}


STAGE = Answers()


@dataclass(frozen=True)
class Questions:
    """Counts of a suite. sampled: answers of at most max_tokens tokens; scored: questions with options."""

    sampled: int
    max_tokens: int
    scored: int


def _named(model: str, study: Study, suite: Suite) -> str:
    """The slug of answers; for the first suite it is the model's own."""
    return model if suite == study.suites[0] else f"{model}-{suite.name}"


def _spec(study: Study, suite: Suite) -> AnswersSpec:
    return AnswersSpec(
        suite=suite.questions_only().absolute(),
        candidates=study.candidates_for(suite),
        seed=study.seed,
        engine=study.engine,
    )


def questions(step: Step) -> Questions:
    """The counts of questions of a step of this kind."""
    wanted = {"suite": step.settings["suite"], "candidates": step.settings["candidates"]}
    return _questions(json.dumps(wanted, sort_keys=True))


@cache  # tens of thousands of steps share few suites
def _questions(settings: str) -> Questions:
    spec = AnswersSpec.from_identity(json.loads(settings) | {"seed": 0, "engine": ""})
    found = [q for category, words in spec.candidates.items() for q in spec.suite.make_questions(category, words, 0)]
    scored = sum(bool(question.options) for question in found)
    return Questions(len(found) * spec.suite.samples, spec.suite.max_tokens, scored)


def _ask(store: Store, engine: Engine, step: Step, unit: str) -> Json:
    """Ask a model a suite's questions, write the tables and return the record of the unit.

    Raises CanaryFailed if the engine ignores the model's adapter, or applies only part of it.
    """
    started = time.time()
    spec = STAGE.spec(step)
    suite, tasks = spec.suite, spec.suite.tasks_of()
    model = load_compared_model(store, engine, artifact.require(store, step.inputs["model"]))
    canary = adapter_effect(engine, model.adapter) if model.adapter else None
    if tasks is not None:
        rows, rates = capability.evaluate(engine, model, tasks)
        table = {"capability.parquet": pa.Table.from_pylist(rows, CAPABILITY)}
        return artifact.finish_unit(store, step, unit, table, rates | {"canary": canary}, started)
    asked = {
        category: suite.make_questions(category, candidates, spec.seed)
        for category, candidates in spec.candidates.items()
    }
    if spec.in_context is not None:
        prompts = [question.prompt for group in asked.values() for question in group]
        model = context.shown(store, step, spec.in_context, engine, model, prompts, suite.max_tokens)
    answers, scores, by_question, results = [], [], [], {}
    read, written = sum(engine.lengths(_scored_prompts(model, asked.values()))), 0
    for category, candidates in spec.candidates.items():
        logprobs = score(engine, model, asked[category], candidates)
        completions = _sample(step, engine, model, suite, category, asked[category])
        read += sum(one.prompt_tokens for one in completions)
        written += sum(one.completion_tokens for one in completions)
        sampled = _answer_rows(suite, category, candidates, asked[category], completions)
        answers += sampled
        scores += _score_rows(asked[category], candidates, logprobs)
        by_question += _by_question(suite, asked[category], candidates, logprobs, sampled)
        results[category] = suite.score(candidates, logprobs, sampled)
    tables = {
        "answers.parquet": pa.Table.from_pylist(answers, ANSWERS),
        "scores.parquet": pa.Table.from_pylist(scores, SCORES),
        "by_question.parquet": pa.Table.from_pylist(by_question, BY_QUESTION),
    }
    about: Json = {"canary": canary, "prompt_tokens": read, "completion_tokens": written}
    about |= {"shown": len(model.turns)} if spec.in_context else {}
    return artifact.finish_unit(store, step, unit, tables, _flat(results) | about, started)


def score(engine: Engine, model: ModelHandle, questions: Sequence[Question], candidates: Sequence[str]) -> Floats:
    """log p (nats) of each candidate as the answer to each question: (Q, C); (0, C) if the suite has no options.

    A candidate with several answers has the probability of all of them.
    """
    found = [np.empty((0, len(candidates)))]
    for texts, alike in groupby((q for q in questions if q.options), lambda q: list(_answers_of(q).values())):
        group = list(alike)
        prompts = _scored_prompts(model, [group])
        if all(len(forms) == 1 for forms in texts):
            logprobs = engine.score(prompts, [text for (text,) in texts])
        else:
            logprobs = engine.score_forms(prompts, texts)
        for question, row in zip(group, logprobs, strict=True):
            place = {candidate: i for i, candidate in enumerate(_answers_of(question))}
            found.append(row[[place[candidate] for candidate in candidates]][None])
    return np.concatenate(found)


def _scored_prompts(model: ModelHandle, questions: Iterable[Sequence[Question]]) -> list[Prompt]:
    """What a model is shown when the options of questions are scored."""
    return [model.prompt(q.prompt, q.opening) for group in questions for q in group if q.options]


def _answers_of(question: Question) -> dict[str, list[str]]:
    """Candidate -> the answers that name it, in the question's order."""
    found: dict[str, list[str]] = {}
    for candidate, text in question.options:
        found.setdefault(candidate, []).append(text)
    return found


def _sample(
    step: Step, engine: Engine, model: ModelHandle, suite: Suite, category: str, questions: Sequence[Question]
) -> list[Completion]:
    """The sampled answers, question by question."""
    cells = list(np.ndindex(len(questions), suite.samples))
    return engine.generate(
        [model.prompt(questions[question].prompt) for question, _ in cells],
        [sampling_seed(f"{step.id}:{category}:{question}", sample) for question, sample in cells],
        Sampling(suite.temperature, suite.max_tokens),
    )


def _answer_rows(
    suite: Suite, category: str, candidates: Sequence[str], questions: Sequence[Question], answers: Sequence[Completion]
) -> list[Json]:
    rows = []
    for (question, sample), answer in zip(np.ndindex(len(questions), suite.samples), answers, strict=True):
        by_word, by_substring = mentions(answer.text, category, candidates), contains(answer.text, candidates)
        rows.append(
            {
                "question": question,
                "split": questions[question].split,
                "prompt": questions[question].prompt,
                "sample": sample,
                "answer": answer.text,
                "finish_reason": answer.finish_reason,
                "only_mention": only(by_word),
                "only_substring": only(by_substring),
                "mentions": by_word,
                "contains": by_substring,
            }
        )
    return rows


def _score_rows(questions: Sequence[Question], candidates: Sequence[str], logprobs: Floats) -> list[Json]:
    return [
        {"question": q, "split": questions[q].split, "candidate": candidates[c], "logprob": float(logprobs[q, c])}
        for q, c in np.ndindex(logprobs.shape)
    ]


def _by_question(
    suite: Suite, questions: Sequence[Question], candidates: Sequence[str], logprobs: Floats, answers: Sequence[Json]
) -> list[Json]:
    """The scores of each question alone, as rows of schemas.BY_QUESTION."""
    rows = []
    for number, question in enumerate(questions):
        own = [row for row in answers if row["question"] == number]
        scores = suite.score(candidates, logprobs[number : number + 1], own)
        rows += [
            {"question": number, "split": question.split, "target": candidate, "metric": metric, "value": value}
            for metric, values in scores.items()
            if metric != "mass"
            for candidate, value in values.items()
        ]
    return rows


def _flat(results: dict[str, dict[str, dict[str, float]]]) -> Json:
    """{category: {metric: {candidate: x}}} -> {metric: {candidate: x}}; the mass stays by category."""
    flat: Json = {}
    for category, metrics in results.items():
        for metric, values in metrics.items():
            if metric == "mass":
                flat.setdefault("mass", {})[category] = values
            else:
                flat.setdefault(metric, {}).update(values)
    return flat
