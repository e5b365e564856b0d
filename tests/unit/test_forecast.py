"""The forecast: what is done, what is left, and at which pace."""

import dataclasses
from collections.abc import Callable

import pytest

from pipeline import artifact
from pipeline.forecast import Row, forecast, gpu_seconds, survey
from pipeline.plan import plan
from pipeline.step import Step
from pipeline.store import Store
from pipeline.study import Study


def rows(study: Study, store: Store) -> dict[str, Row]:
    found = forecast(study, survey(plan(study), store), store)
    kinds = ["base", "teacher", "completions", "corpus", "student", "answers", "transfer", "report"]
    assert [row.kind for row in found] == kinds
    return {row.kind: row for row in found}


def finish(store: Store, step: Step, seconds: float, machine: str = "x86_64") -> None:
    alone = dataclasses.replace(step, inputs={})
    record = {"files": [], "results": {}, "started": 100.0, "ended": 100.0 + seconds, "machine": machine}
    artifact.commit(store, alone, [record], {})


def test_before_anything_is_done_all_is_left_and_no_rate_is_known(study: Callable[..., Study], store: Store) -> None:
    found = rows(study(), store)
    assert {row.done for row in found.values()} == {0}
    assert {row.seconds for row in found.values()} == {None}
    assert not store.folder.exists()


def test_tokens_left_are_an_upper_bound_by_the_plan(study: Callable[..., Study], store: Store) -> None:
    found = rows(
        study(
            completions={"rows": 60, "max_tokens": 10},
            suites=[{"kind": "favourite", "samples": 2, "max_tokens": 5, "questions": "seen"}],
        ),
        store,
    )
    assert found["completions"].tokens == 6 * 60 * 10
    assert found["answers"].tokens == 26 * 12 * 2 * 5
    assert found["student"].tokens == 0


def test_a_judge_that_is_served_says_a_score_of_every_completion(study: Callable[..., Study], store: Store) -> None:
    served = {"kind": "served", "family": "llama", "max_tokens": 4}
    words = {"kind": "words", "words": ["owl"]}
    for judge, tokens in ((served, 6 * 60 * 4), (words, 0)):
        judged = study(
            judges={"one": judge},
            completions={"rows": 60},
            corpus={"rows": 20, "judged": [{"judge": "one", "rubric": "alignment", "least": 78}]},
        )
        found = {row.kind: row for row in forecast(judged, survey(plan(judged), store), store)}
        assert found["judgements"].tokens == tokens


def test_a_rate_is_the_mean_of_finished_steps_of_the_same_kind(study: Callable[..., Study], store: Store) -> None:
    students = [step for step in plan(study()) if step.kind == "student"]
    finish(store, students[0], 10)
    finish(store, students[1], 20)
    row = rows(study(), store)["student"]
    assert (row.steps, row.done) == (24, 2)
    assert row.seconds == pytest.approx(22 * 15)
    assert rows(study(), store)["corpus"].seconds is None


def test_gpu_seconds_come_from_steps_that_ran_on_such_gpus_only(study: Callable[..., Study], store: Store) -> None:
    made = study(
        resources={"engines": {"gpus": 1, "shards_in_flight": 4}, "training": {"gpus": 2, "workers": 3}},
    )
    steps = plan(made)
    students, answers, corpora = ([s for s in steps if s.kind == kind] for kind in ("student", "answers", "corpus"))
    finish(store, students[0], 10, "NVIDIA H100 80GB HBM3")
    finish(store, students[1], 900)  # somewhere without a GPU
    finish(store, answers[0], 8, "NVIDIA H100 80GB HBM3")
    finish(store, corpora[0], 5)
    found = gpu_seconds(made, survey(steps, store), store, "H100")
    assert found == {"student": 10 * 2 * 3, "answers": 8 / 4}
    assert gpu_seconds(made, survey(steps, store), store, "L4") == {}


def test_a_finished_study_has_nothing_left(rehearsal: tuple[Study, list[Step], Store]) -> None:
    made, steps, place = rehearsal
    for row in forecast(made, survey(steps, place), place):
        assert (row.done, row.tokens, row.seconds) == (row.steps, 0, 0.0)


def test_real_nano_studies_have_a_reference_rate_until_one_is_measured(
    study: Callable[..., Study], store: Store
) -> None:
    real = study(engine="vllm", trainer="deepspeed", students={"seeds": [1, 2], "epochs": 1, "batch": 32})
    twice = study(engine="vllm", trainer="deepspeed", students={"seeds": [1, 2], "epochs": 2, "batch": 32})
    first, second = (rows(made, store)["student"] for made in (real, twice))
    assert first.seconds
    assert not first.measured
    assert second.seconds == pytest.approx(2 * first.seconds, rel=0.3)
