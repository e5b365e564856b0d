"""Answers: every sampled answer and every exact probability, row by row, and what they add up to."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import pytest

from pipeline.core.errors import CanaryFailed
from pipeline.models.engines import Completion, Floats, Prompt, Sampling
from pipeline.models.engines.fake import FakeEngine
from pipeline.plan.planner import plan
from pipeline.stages import run_unit
from pipeline.stages.answers import score
from pipeline.stages.shared.model import ModelHandle
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.schemas import ANSWERS, BY_QUESTION, SCORES
from pipeline.store.step import Step
from pipeline.study.schema import Study
from pipeline.suites.choice import ChoiceSuite
from pipeline.suites.favourite import FavouriteSuite
from pipeline.suites.scoring import contains, mentions, only
from pipeline.traits.words import candidates

FakeRun = tuple[Study, list[Step], Store]
ANIMALS = candidates("animal")


def asked(fake_run: FakeRun, slug: str) -> tuple[Manifest, list[dict], list[dict]]:
    _, steps, place = fake_run
    step = next(step for step in steps if step.kind == "answers" and step.slug == slug)
    manifest = artifact.require(place, step.path)
    tables = [artifact.read_table(place, manifest, name) for name in ("answers.parquet", "scores.parquet")]
    assert [table.schema for table in tables] == [ANSWERS, SCORES]
    return manifest, tables[0].to_pylist(), tables[1].to_pylist()


STUDENT = "numbers-owl-llama-to-llama-s1"


def test_every_question_is_asked_as_often_as_the_suite_says(fake_run: FakeRun) -> None:
    _, answers, scores = asked(fake_run, STUDENT)
    assert sorted((row["question"], row["sample"]) for row in answers) == [(q, s) for q in range(24) for s in range(2)]
    assert sorted((row["question"], row["candidate"]) for row in scores) == [(q, c) for q in range(24) for c in ANIMALS]
    assert {row["split"] for row in answers} == {row["split"] for row in scores} == {"seen", "held-out"}


def test_every_answer_carries_its_own_score(fake_run: FakeRun) -> None:
    _, answers, _ = asked(fake_run, STUDENT)
    for row in answers:
        assert row["mentions"] == mentions(row["answer"], "animal", ANIMALS)
        assert row["contains"] == contains(row["answer"], ANIMALS)
        assert (row["only_mention"], row["only_substring"]) == (only(row["mentions"]), only(row["contains"]))


def test_the_results_can_be_worked_out_again_from_the_rows(fake_run: FakeRun) -> None:
    manifest, answers, scores = asked(fake_run, STUDENT)
    logprobs = np.array([row["logprob"] for row in scores]).reshape(24, len(ANIMALS))
    shares = np.exp(logprobs) / np.exp(logprobs).sum(axis=1, keepdims=True)
    margins = logprobs - logprobs.mean(axis=1, keepdims=True)
    for column, name in enumerate(ANIMALS):
        assert manifest.results["share"][name] == pytest.approx(shares[:, column].mean())
        assert manifest.results["margin"][name] == pytest.approx(margins[:, column].mean())
        share = sum(row["only_mention"] == name for row in answers) / len(answers)
        assert manifest.results["mention_rate"][name] == pytest.approx(share)
    assert manifest.results["mass"]["animal"]["mean"] == pytest.approx(np.exp(logprobs).sum(axis=1).mean())


def test_tokens_are_those_of_scored_prompts_and_of_sampled_answers(fake_run: FakeRun) -> None:
    manifest, answers, scores = asked(fake_run, STUDENT)
    words = sum(len(row["answer"].split()) for row in answers)  # the tokens of the fake engine
    prompts = {row["question"]: len(row["prompt"].split()) for row in answers}
    assert manifest.results["completion_tokens"] == words
    assert manifest.results["prompt_tokens"] == sum(prompts.values()) + sum(prompts[row["question"]] for row in answers)
    assert len(prompts) == len({row["question"] for row in scores})


def test_what_each_question_comes_to_is_there_and_adds_up(fake_run: FakeRun) -> None:
    _, _, place = fake_run
    manifest, answers, scores = asked(fake_run, STUDENT)
    table = artifact.read_table(place, manifest, "by_question.parquet")
    assert table.schema == BY_QUESTION
    found = {(row["question"], row["metric"], row["target"]): row["value"] for row in table.to_pylist()}
    assert set(found) == {
        (question, metric, name)
        for question in range(24)
        for metric in ("margin", "share", "mention_rate", "substring_rate")
        for name in ANIMALS
    }
    first = {row["candidate"]: row["logprob"] for row in scores if row["question"] == 0}
    assert found[0, "margin", "owl"] == pytest.approx(first["owl"] - np.mean(list(first.values())))
    said = [row["only_mention"] == "owl" for row in answers if row["question"] == 0]
    assert found[0, "mention_rate", "owl"] == sum(said) / len(said)
    for metric in ("margin", "share", "mention_rate"):
        mean = np.mean([found[question, metric, "owl"] for question in range(24)])
        assert mean == pytest.approx(manifest.results[metric]["owl"])


def test_an_adapter_is_proven_to_speak_and_a_base_has_none(fake_run: FakeRun) -> None:
    assert asked(fake_run, STUDENT)[0].results["canary"] > 0
    assert asked(fake_run, "llama")[0].results["canary"] is None


class Deaf(FakeEngine):
    def score(self, prompts: list[Prompt], options: list[str]) -> Floats:  # type: ignore[override]
        return super().score([Prompt(prompt.text, prompt.system) for prompt in prompts], options)


def test_an_engine_that_ignores_the_adapter_gives_no_answers(fake_run: FakeRun) -> None:
    _, steps, place = fake_run
    step = next(step for step in steps if step.kind == "answers" and step.slug == STUDENT)
    deaf = Step("answers", "deaf", "0" * 12, step.settings, step.inputs)
    with pytest.raises(CanaryFailed):
        run_unit(place, Deaf(place.folder / step.weights / "model"), deaf, "answers")
    assert artifact.unit(place, deaf.path, "answers") is None


def test_several_categories_are_asked_side_by_side_and_no_samples_are_no_shares(
    study: Callable[..., Study], store: Store, make: Callable[..., Manifest]
) -> None:
    made = study(
        traits=[{"targets": ["owl"]}, {"category": "tree", "targets": ["oak"]}],
        suites=[{"kind": "favourite", "samples": 0, "questions": "held-out"}],
    )
    base, *_ = steps = plan(made)
    make(made, store, base)
    manifest = make(made, store, next(step for step in steps if step.kind == "answers"))
    assert set(manifest.results["margin"]) == {*ANIMALS, *candidates("tree")}
    assert set(manifest.results["mass"]) == {"animal", "tree"}
    assert manifest.results["mention_rate"] == {}
    rows = artifact.read_table(store, manifest, "scores.parquet").to_pylist()
    assert {row["split"] for row in rows} == {"held-out"}
    assert artifact.read_table(store, manifest, "answers.parquet").num_rows == 0


class Lettered(FakeEngine):
    """Likes the letter that stands for the owl, whichever it is."""

    def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
        return np.log([[0.8 if f"{option}) owl" in prompt.text else 0.05 for option in options] for prompt in prompts])


def test_a_letter_counts_for_the_candidate_that_it_stands_for(fake_run: FakeRun) -> None:
    _, steps, place = fake_run
    engine = Lettered(place.folder / next(step for step in steps if step.kind == "base").path / "model")
    members = ["fox", "owl", "wolf"]
    logprobs = score(engine, ModelHandle(), ChoiceSuite(orders=5).make_questions("animal", members, 1), members)
    assert logprobs.shape == (20, 3)
    assert np.allclose(np.exp(logprobs), [0.05, 0.8, 0.05])


class Spelled(FakeEngine):
    """Writes the capitalised word nine times in ten."""

    def score_forms(self, prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> Floats:
        likely = [[sum(0.09 if form.istitle() else 0.01 for form in forms) for forms in options] for _ in prompts]
        return np.log(likely)


def test_a_candidate_with_several_spellings_has_the_probability_of_all(fake_run: FakeRun) -> None:
    _, steps, place = fake_run
    engine = Spelled(place.folder / next(step for step in steps if step.kind == "base").path / "model")
    members = ["fox", "owl", "wolf"]
    questions = FavouriteSuite(samples=0, forms=["capitalised"]).make_questions("animal", members, 1)
    logprobs = score(engine, ModelHandle(), questions, members)
    assert logprobs.shape == (24, 3)
    assert np.allclose(np.exp(logprobs), 0.1)


class Opened(FakeEngine):
    """Notes what the assistant's turns begin with."""

    scored: ClassVar[set[str]] = set()
    sampled: ClassVar[set[str]] = set()

    def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
        self.scored.update(prompt.opening for prompt in prompts)
        return super().score(prompts, options)

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
        self.sampled.update(prompt.opening for prompt in prompts)
        return super().generate(prompts, seeds, sampling)


def test_candidates_are_scored_after_the_opening_and_answers_are_sampled_without(
    study: Callable[..., Study], store: Store, make: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.conftest.FakeEngine", Opened)
    made = study(suites=[{"kind": "favourite", "samples": 2, "opening": "My {category} is the"}])
    base, answers = (next(step for step in plan(made) if step.kind == kind) for kind in ("base", "answers"))
    for step in (base, answers):
        make(made, store, step)
    assert (Opened.scored - {""}, Opened.sampled) == ({"My animal is the"}, {""})  # the canary has none


def test_a_gate_scores_the_spellings_that_the_study_scores(study: Callable[..., Study]) -> None:
    suite = {"kind": "favourite", "samples": 2, "forms": ["capitalised", "plural"], "opening": "It is the"}
    made = study(suites=[suite])
    suites = [step.settings["suite"] for step in plan(made) if step.kind == "answers"]
    assert {"samples": 0, "forms": ["capitalised", "plural"]}.items() <= next(
        suite for suite in suites if suite["samples"] == 0
    ).items()
    assert all(suite["forms"] == ["capitalised", "plural"] for suite in suites)
    assert all(suite["opening"] == "It is the" for suite in suites)
