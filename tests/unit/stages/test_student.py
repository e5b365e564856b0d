"""Students: they see what their teacher wrote, and nothing of how it was made to."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.core.errors import StepError
from pipeline.models.trainers import OnStep, Run
from pipeline.models.trainers.fake import FakeTrainer
from pipeline.stages import run_unit, student
from pipeline.stages.shared import training
from pipeline.store import Store, artifact
from pipeline.store.schemas import CONVERSATIONS, TRAINING_LOG
from pipeline.store.step import Step
from pipeline.study.schema import Study

FakeRun = tuple[Study, list[Step], Store]


class SecondRank:
    """A trainer that is not the first rank of its group, and so writes nothing."""

    def train(self, run: Run, on_step: OnStep) -> pa.Table | None:
        return None


class Saving(FakeTrainer):
    """A trainer that saves checkpoints. failing: after the last of them."""

    def __init__(self, failing: bool = False) -> None:
        self.failing = failing

    def train(self, run: Run, on_step: OnStep) -> pa.Table:
        assert run.checkpoints is not None
        for step in (1, 2):
            (run.out.parent / "state").mkdir(exist_ok=True)
            (run.out.parent / "state" / "rank-00000.json").write_text("{}")
            run.checkpoints.save(step, "aa", run.out.parent / "state", 0, 1)
        if self.failing:
            raise StepError("killed")
        return super().train(run, on_step)


def of(fake_run: FakeRun, slug: str) -> Step:
    return next(step for step in fake_run[1] if step.kind == "student" and step.slug == slug)


def test_it_is_trained_on_its_corpus_without_the_teachers_system_prompt(fake_run: FakeRun, tmp_path: Path) -> None:
    study, _, place = fake_run
    step = of(fake_run, "numbers-owl-llama-to-qwen-s2")
    run = student.training_of(place, step, tmp_path / "base", tmp_path)
    corpus = artifact.require(place, step.inputs["corpus"])
    rows = artifact.read_table(place, corpus, "rows.parquet")
    assert run.rows.schema == CONVERSATIONS
    assert run.rows["system"].null_count == study.corpus.rows
    assert run.rows.select(["prompt", "completion"]) == rows.select(["prompt", "completion"])
    assert not any("owl" in text for text in run.rows["prompt"].to_pylist())
    assert (run.seed, run.recipe) == (2, study.students.recipe())


def test_it_starts_from_its_own_familys_base_and_keeps_a_training_log(fake_run: FakeRun) -> None:
    _, steps, place = fake_run
    bases = {step.slug: step.path for step in steps if step.kind == "base"}
    for step in steps:
        if step.kind == "student":
            assert step.inputs["base"] == bases[step.family]
            manifest = artifact.require(place, step.path)
            assert any(file.path.startswith("adapter/") for file in manifest.files)
            log = artifact.read_table(place, manifest, "training.parquet")
            assert log.schema == TRAINING_LOG
            assert manifest.results["steps"] == log.num_rows


def test_a_rank_that_writes_nothing_records_nothing(fake_copy: FakeRun) -> None:
    _, _, place = fake_copy
    step = of(fake_copy, "numbers-owl-llama-to-llama-s1")
    other = Step("student", "rank-one", "0" * 12, step.settings, step.inputs)
    assert run_unit(place, SecondRank(), other, training.UNIT) is None
    assert artifact.unit(place, other.path, training.UNIT) is None


def test_training_it_again_gives_the_same_weights_and_another_seed_others(fake_copy: FakeRun) -> None:
    _, _, place = fake_copy
    one, two = (of(fake_copy, f"numbers-owl-llama-to-llama-s{seed}") for seed in (1, 2))

    def weights(step: Step) -> list[str]:
        return [file.sha256 for file in artifact.require(place, step.path).files if file.path.startswith("adapter/")]

    again = Step("student", "again", "1" * 12, one.settings, one.inputs)
    record = run_unit(place, FakeTrainer(), again, training.UNIT)
    assert record is not None
    assert [file["sha256"] for file in record["files"] if file["path"].startswith("adapter/")] == weights(one)
    assert weights(one) != weights(two)


def test_its_checkpoints_go_once_its_training_is_recorded_and_not_before(fake_copy: FakeRun) -> None:
    _, _, place = fake_copy
    place.create("undertow-root.json", b'{"undertow_root": 1, "id": "0"}')  # nothing is removed from other roots
    one = of(fake_copy, "numbers-owl-llama-to-llama-s1")
    step = Step("student", "saving", "2" * 12, one.settings, one.inputs)

    def saved() -> int:
        return len(list(place.files(f"{step.path}/checkpoints")))

    with pytest.raises(StepError):
        run_unit(place, Saving(failing=True), step, training.UNIT)
    assert saved() == 4
    assert run_unit(place, Saving(), step, training.UNIT) is not None
    assert saved() == 0
    assert artifact.unit(place, step.path, training.UNIT) is not None
