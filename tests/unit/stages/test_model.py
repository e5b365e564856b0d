"""Who speaks is who was trained: no stage uses an adapter that its engine applies otherwise than PEFT does."""

from collections.abc import Callable, Sequence

import pytest

from pipeline.core.errors import CanaryFailed
from pipeline.models.engines import Floats, Prompt
from pipeline.models.engines.fake import FakeEngine
from pipeline.models.trainers import MODEL
from pipeline.stages import run_unit
from pipeline.stages.shared.model import load_compared_model
from pipeline.store import Store, artifact
from pipeline.store.local_cache import local_folder
from pipeline.store.step import Step
from pipeline.study.schema import Study

FakeRun = tuple[Study, list[Step], Store]


class Partial(FakeEngine):
    """Applies half of every adapter."""

    def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
        bare = super().score([Prompt(prompt.text, prompt.system) for prompt in prompts], options)
        return (bare + super().score(prompts, options)) / 2


def engine(store: Store, step: Step, kind: type[FakeEngine]) -> FakeEngine:
    base = artifact.require(store, step.weights)
    return kind(local_folder(store, base.path, base.files, MODEL))


def of(fake_run: FakeRun, kind: str, contains: str) -> Step:
    return next(step for step in fake_run[1] if step.kind == kind and contains in step.slug)


def test_every_trained_model_says_what_an_engine_is_to_be_compared_with(fake_run: FakeRun) -> None:
    _, steps, store = fake_run
    trained = [artifact.require(store, step.path) for step in steps if step.kind in ("base", "student")]
    assert all("reference" in manifest.results for manifest in trained)


def test_a_student_that_the_engine_serves_in_part_is_not_asked_anything(fake_run: FakeRun) -> None:
    _, _, store = fake_run
    step = of(fake_run, "answers", "owl-llama-to-llama")
    with pytest.raises(CanaryFailed, match="and its adapter as it was made"):
        run_unit(store, engine(store, step, Partial), step, "answers")


def test_a_teacher_that_the_engine_serves_in_part_writes_nothing(
    store: Store, study: Callable[..., Study], make: Callable[[Study, Store, Step], artifact.Manifest]
) -> None:
    from pipeline.plan.planner import plan

    trained = study(teachers={"method": {"kind": "finetuned", "rows": 20}, "families": ["llama"]})
    for step in plan(trained):
        if step.kind in ("base", "teacher"):
            make(trained, store, step)
        elif step.kind == "completions" and "owl" in step.slug:
            with pytest.raises(CanaryFailed, match="and its adapter as it was made"):
                run_unit(store, engine(store, step, Partial), step, "shard-00000")
            assert artifact.unit(store, step.path, "shard-00000") is None
            assert run_unit(store, engine(store, step, FakeEngine), step, "shard-00000")


def test_a_model_from_before_there_was_a_reference_speaks_as_it_did(fake_run: FakeRun) -> None:
    import dataclasses

    _, _, store = fake_run
    step = of(fake_run, "answers", "owl-llama-to-llama")
    student = artifact.require(store, step.inputs["model"])
    old = dataclasses.replace(student, results={})
    assert load_compared_model(store, engine(store, step, Partial), old).adapter is not None
