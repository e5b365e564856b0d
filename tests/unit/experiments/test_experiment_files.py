"""The files of experiments: what is accepted, refused, and part of an id; and which commands take them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from jobs import job
from pipeline.experiments.base import BaseExperiment
from pipeline.store.step import EXPERIMENTS, Step
from tests.unit.conftest import Said

CLASSIFIER = ("images", "image_teacher", "image_student", "image_report")
TEXT = """\
experiment: small
kind: image_classifier
seed_sets:
  - {first: 1, last: 4}
  - {first: 11, last: 13}
conditions:
  - {name: aux-same}
  - {name: wide, hidden: 64}
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., BaseExperiment]:
    """The experiment of TEXT with overrides."""

    def call(*overrides: str, smoke_test: bool = False) -> BaseExperiment:
        (tmp_path / "small.yaml").write_text(TEXT)
        found = job.load(tmp_path / "small.yaml", overrides, smoke_test=smoke_test)
        assert isinstance(found, BaseExperiment)
        return found

    return call


def by_name(steps: list[Step]) -> Mapping[str, Step]:
    return {f"{step.kind}/{step.slug}": step for step in steps}


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TEXT + "colour: red\n", "small.yaml:9: colour: unknown setting"),
        (TEXT.replace("image_classifier", "poem"), "small.yaml:2: kind: "),
        (
            TEXT.replace("first: 1, last: 4", "first: 4, last: 4"),
            "small.yaml:4: seed_sets.0: 4 to 4: a set has at",
        ),
        (TEXT.replace("first: 11", "first: 3"), "seed_sets: 1–4 and 3–13 share seeds"),
        (TEXT.replace("name: wide", "name: aux-same"), "conditions: two are named aux-same"),
        (TEXT.replace("name: wide, ", ""), "conditions: one has no name"),
        (TEXT.replace("name: wide", "name: teacher"), "small.yaml:8: conditions.1: teacher is the name of results"),
        (TEXT.replace("hidden: 64", "start: interpolated"), "cosine is given with start: interpolated"),
        (TEXT.replace("hidden: 64", "start: near"), "small.yaml:8: conditions.1.start: "),
        (TEXT + "published: {narrow: 0.5}\n", "published names narrow, which is no condition here"),
        (TEXT + "data: {kind: folder, content: mnist}\n", "small.yaml:9: data.folder: folder is missing"),
        (TEXT + "noise: {images: many}\n", "small.yaml:9: noise.images: Input should be a valid integer"),
    ],
)
def test_a_bad_experiment_is_refused_in_one_message_and_nothing_is_written(
    undertow: Callable[..., Said], tmp_path: Path, command: str, text: str, said: str
) -> None:
    (tmp_path / "small.yaml").write_text(text)
    before = sorted(tmp_path.rglob("*"))
    told = undertow(command, "small.yaml")
    assert told.code == 2
    assert said in told.err
    assert "Traceback" not in told.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_is_not_there_is_refused_before_a_run_starts(
    undertow: Callable[..., Said], tmp_path: Path
) -> None:
    (tmp_path / "small.yaml").write_text(TEXT + "data: {kind: folder, content: mnist, folder: nowhere}\n")
    told = undertow("run", "small.yaml")
    assert (told.code, told.err.split(":")[0]) == (2, "nowhere is no folder")
    assert undertow("plan", "small.yaml").code == 0  # the folder may be on other machines


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "small.yaml", "--power"],
        ["plan", "small.yaml", "--cluster", "8xH100"],
        ["agreement", "small.yaml", "judge", "alignment", "rows.jsonl", "--threshold", "50"],
    ],
)
def test_what_needs_a_study_refuses_an_experiment_in_one_message(
    undertow: Callable[..., Said], tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "small.yaml").write_text(TEXT)
    told = undertow(*arguments)
    assert told.code == 2
    assert "experiment" in told.err
    assert "for studies" in told.err
    assert "Traceback" not in told.err


def test_a_plan_of_an_experiment_says_where_no_rate_is_known(undertow: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(TEXT)
    told = undertow("plan", "small.yaml")
    assert told.code == 0, told.err
    rows = {line.split("│")[1].strip(): line.split("│")[-2].strip() for line in told.out.splitlines() if "│" in line}
    assert rows == dict.fromkeys(CLASSIFIER, "—")


def test_a_plan_shares_a_teacher_between_conditions_of_one_network(load: Callable[..., BaseExperiment]) -> None:
    steps = load("conditions.1.start=other", "conditions.1.hidden=null").plan()
    assert [step.kind for step in steps] == ["images", "image_teacher", *["image_student"] * 2, "image_report"]
    wider = by_name(load().plan())
    assert wider["image_student/wide"].inputs["teacher"] == wider["image_teacher/64-3"].path
    assert wider["image_student/aux-same"].inputs["teacher"] == wider["image_teacher/256-3"].path
    assert all(len(step.identity) == 64 for step in wider.values())


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("resources.compute.cpus=2", set()),
        ("seeds_per_unit=2", set()),
        ("published={aux-same: 0.5}", {"image_report"}),
        ("noise.seed=2", {"image_student", "image_report"}),
        ("training.steps=10", {"image_teacher", "image_student", "image_report"}),
        ("seed_sets.1.last=14", {"image_teacher", "image_student", "image_report"}),
        ("data={kind: packaged, test_images: 500}", {"images", "image_teacher", "image_student", "image_report"}),
        (
            "data={kind: folder, folder: here, content: mnist}",
            {"images", "image_teacher", "image_student", "image_report"},
        ),
    ],
)
def test_what_changes_results_changes_the_ids_and_nothing_else_does(
    load: Callable[..., BaseExperiment], override: str, changed: set[str]
) -> None:
    before, after = ({step.path: step.kind for step in plan} for plan in (load().plan(), load(override).plan()))
    assert {kind for path, kind in after.items() if path not in before} == changed


def test_the_folder_of_images_enters_no_id(load: Callable[..., BaseExperiment]) -> None:
    one, other = (load(f"data={{kind: folder, folder: {name}, content: mnist}}") for name in ("here", "there"))
    assert [step.path for step in one.plan()] == [step.path for step in other.plan()]


def test_a_smoke_test_is_smaller_and_idempotent(load: Callable[..., BaseExperiment]) -> None:
    smaller: Any = load(smoke_test=True)
    assert smaller.smoke() == smaller
    assert [step.kind for step in smaller.plan()] == [step.kind for step in load().plan()]
    assert smaller.training.steps < 10
    assert sum(len(one.seeds) for one in smaller.seed_sets) == 4
    assert smaller.smoke_test


def test_a_partial_report_names_what_is_missing(load: Callable[..., BaseExperiment]) -> None:
    experiment = load()
    steps = experiment.plan()
    named = by_name(steps)
    wide, teacher = named["image_student/wide"].path, named["image_teacher/64-3"].path
    done = {step.path for step in steps[:-1]} - {wide, teacher}
    (report,) = experiment.partial_report(steps, done, {teacher: "failed"})
    assert report.path != steps[-1].path
    assert wide not in report.inputs.values()
    assert named["image_student/aux-same"].path in report.inputs.values()
    assert report.settings["rows"]["wide"]["missing"] == "failed"
    assert experiment.partial_report(steps, done | {wide, teacher}, {}) == []  # nothing is lost
    assert experiment.partial_report(steps, set(), {steps[0].path: "failed"}) == []  # everything is


def test_stages_of_experiments_are_of_the_kind_that_they_are_registered_as() -> None:
    from pipeline.stages import stage_of

    assert {stage_of(kind).kind for kind in EXPERIMENTS} == set(EXPERIMENTS)
