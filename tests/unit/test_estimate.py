"""The estimate: what is done, what is left, and at which pace."""

import dataclasses
from collections.abc import Callable, Mapping

import pytest

from pipeline.plan import rates
from pipeline.plan.estimate import Row, estimate, expected, gpu_seconds, survey
from pipeline.plan.planner import plan
from pipeline.store import Store, artifact
from pipeline.store.step import Step
from pipeline.study.schema import Study


def rows(study: Study, store: Store) -> dict[str, Row]:
    found = estimate(study, survey(plan(study), store), store)
    kinds = ["base", "teacher", "gate", "completions", "corpus", "student", "answers", "transfer", "report"]
    assert [row.kind for row in found] == kinds
    return {row.kind: row for row in found}


def finish(
    store: Store, step: Step, seconds: float, machine: str = "x86_64", inputs: Mapping[str, str] | None = None
) -> None:
    alone = dataclasses.replace(step, inputs=inputs or {})
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
    served = {"kind": "engine", "family": "llama", "max_tokens": 4}
    words = {"kind": "keywords", "keywords": ["owl"]}
    for judge, tokens in ((served, 6 * 60 * 4), (words, 0)):
        judged = study(
            judges={"one": judge},
            completions={"rows": 60},
            corpus={"rows": 20, "judge_filters": [{"judge": "one", "rubric": "alignment", "min_score": 78}]},
        )
        found = {row.kind: row for row in estimate(judged, survey(plan(judged), store), store)}
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


def test_a_finished_study_has_nothing_left(fake_run: tuple[Study, list[Step], Store]) -> None:
    made, steps, place = fake_run
    for row in estimate(made, survey(steps, place), place):
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


def prompted(study: Callable[..., Study], **changes: object) -> Study:
    return study(engine="vllm", trainer="deepspeed", **changes)


def test_the_gates_of_prompted_teachers_take_time(study: Callable[..., Study], store: Store) -> None:
    def seconds(targets: list[str]) -> float:
        alone = {"teachers": {"neutral_corpora": 0}, "students": {"families": ["llama"], "seeds": [1]}}
        return rows(prompted(study, traits=[{"targets": targets}], **alone), store)["answers"].seconds or 0.0

    # Each further teacher has 2 corpora and 2 students, and its gate asks 24 questions per family.
    assert seconds(["owl", "cat"]) > seconds(["owl"]) > 0


def test_where_a_study_has_no_rate_of_its_own_that_of_another_one_counts_scaled_by_what_there_is_to_do(
    study: Callable[..., Study], store: Store
) -> None:
    small, large = study(corpus={"rows": 40}), study(corpus={"rows": 80}, seed=2)
    other = plan(small)
    for step in other:
        if step.kind in ("base", "corpus") or step.slug == "numbers-owl-llama-to-llama-s1":
            finish(store, step, 10, inputs=step.inputs if step.kind == "student" else {})
    row = rows(large, store)["student"]
    assert (row.done, row.measured, row.elsewhere) == (0, True, True)
    assert row.seconds == pytest.approx(24 * 20)
    # Bases of another shape tell nothing, nor does another engine or trainer.
    wide = {"kind": "nano", "hidden_size": 64, "heads": 2}
    families = {"llama": wide | {"init_seed": 1}, "qwen": wide | {"init_seed": 2}}
    assert rows(study(families=families, seed=2), store)["student"].seconds is None
    assert not rows(prompted(study, seed=2), store)["student"].elsewhere


def test_artifacts_that_cannot_be_read_tell_nothing_of_rates_and_stop_no_plan(
    study: Callable[..., Study], store: Store
) -> None:
    store.create("student/broken-0123456789ab/manifest.json", b"{}")
    store.create("student/unfinished-0123456789ab/units/train.json", b"{}")
    student = next(step for step in plan(study(seed=7)) if step.kind == "student")
    finish(store, student, 10)  # its inputs are not there
    assert rows(study(), store)["student"].seconds is None


def test_no_more_artifacts_are_read_than_a_sample_however_many_there_are(
    study: Callable[..., Study], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        store.create(f"student/s{number:03d}-0123456789ab/manifest.json", b"{}")
    read: list[str] = []
    load = artifact.load
    monkeypatch.setattr(artifact, "load", lambda store, path: read.append(path) or load(store, path))
    assert rates.of_others(store, "student") == rates.Rates({})
    assert 16 <= len(read) <= rates.SAMPLED
    monkeypatch.setattr(rates, "LISTED", 10)
    read.clear()
    rates.of_others(store, "student")
    assert len(read) == 10


def test_a_run_expects_what_the_plan_says_shared_among_its_workers(study: Callable[..., Study], store: Store) -> None:
    real = prompted(study, students={"seeds": [1, 2], "epochs": 1, "batch": 32})
    steps, planned = plan(real), rows(real, store)
    found = expected(real, steps, [], store, cpus=2, gpus=0)
    assert set(found) == set(planned)
    seconds, basis = found["student"]
    assert seconds == pytest.approx(planned["student"].seconds / 24 / 2)  # two groups, which fit two cores
    assert basis == "reference rates"
    alone, _ = expected(real, steps, [], store, cpus=1, gpus=0)["student"]
    assert alone == pytest.approx(2 * seconds)


def test_nothing_is_expected_of_what_is_done_or_has_no_rate(study: Callable[..., Study], store: Store) -> None:
    steps = plan(study())
    bases = [step for step in steps if step.kind == "base"]
    assert expected(study(), steps, [], store, cpus=2, gpus=0) == {}
    finish(store, bases[0], 10)
    assert expected(study(), steps, {bases[0].path}, store, cpus=2, gpus=0) == {
        "base": (10.0, "what this study's steps took")
    }
    finish(store, bases[1], 10)
    assert expected(study(), steps, {base.path for base in bases}, store, cpus=2, gpus=0) == {}
