"""Every shipped study loads, plans, and keeps to what a smoke test of it can run."""

from pathlib import Path

import pytest

from jobs.job import load as load_job
from jobs.job import plan as plan_job
from pipeline.analysis.verdict import MIN_CORPORA, MIN_TEACHERS
from pipeline.plan.planner import plan
from pipeline.study.audit import load as load_audit
from pipeline.study.loader import load
from tests.studies import AUDITS, CONFIGS, EXPERIMENTS, STUDIES

PAPER = [file for file in STUDIES if file.parent.name == "paper"]


def test_there_are_studies_to_load() -> None:
    assert "quickstart.yaml" in {file.name for file in STUDIES}


@pytest.mark.slow
@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.relative_to(CONFIGS).as_posix())
def test_every_shipped_study_loads_and_plans(file: Path) -> None:
    study = load(file)
    assert study.study == file.stem
    steps = plan(study)
    assert {step.kind for step in steps} >= {"base", "teacher", "completions", "corpus", "answers", "transfer"}
    assert study.corpus.rows <= study.completions.max_rows
    # A smoke test of it takes the fake parts and is planned alike.
    smoke_edition = plan(load(file, ["engine=fake", "trainer=fake"]))
    assert [(step.kind, step.slug) for step in smoke_edition] == [(step.kind, step.slug) for step in steps]


def test_the_quickstart_has_what_its_claim_needs() -> None:
    study = load(CONFIGS / "quickstart.yaml")
    assert len({family.init_seed for family in study.families.values() if family.kind == "nano"}) >= 2
    assert len(study.targets) >= MIN_TEACHERS + 1
    assert study.teachers.neutral_corpora >= MIN_CORPORA
    assert study.measure.margin_reason
    assert study.teacher_families == study.student_families == list(study.families)
    assert (study.engine, study.trainer) == ("vllm", "deepspeed")


def test_studies_of_one_model_share_what_they_can() -> None:
    """Under one root the plain students of one published experiment are those of the others."""
    made = {file.stem: {step.path for step in plan(load(file))} for file in PAPER}
    for name, shared in {
        "animals": ["student", "completions"],
        "fifteen-animals": ["student", "answers"],
        "trees": ["base"],
    }.items():
        assert {path for path in made[name] if path.split("/")[0] in shared} <= made["nineteen-animals"]
    shared_students = [path for path in made["shuffles"] & made["nineteen-animals"] if path.startswith("student/")]
    assert len(shared_students) == 8 * 8  # corpora × seeds


def test_the_published_experiments_name_no_commit_yet_and_say_so() -> None:
    for file in PAPER:
        study = load(file)
        hub = [name for name, family in study.families.items() if family.kind == "hub"]
        assert hub == list(study.families)
        data = ["channels.0.data.revision"] if study.channels[0].source() else []
        places = [*(f"families.{name}.revision" for name in hub), *data]
        assert [told.split()[0] for told in study.unpinned] == places
        commits = [f"{place}={'ab' * 20}" for place in places]
        assert load(file, commits).unpinned == []


def test_published_figures_are_of_targets_that_the_study_measures() -> None:
    figures = {file.stem: load(file).paper_results for file in PAPER}
    assert {name for name, found in figures.items() if found} >= {"animals", "trees", "nineteen-animals"}
    for file in PAPER:
        study = load(file)
        assert {figure.target for figure in study.paper_results} <= set(study.targets)
        assert all(figure.before is not None and figure.after is not None for figure in study.paper_results)


@pytest.mark.parametrize("kind", ["study", "audit", "experiment"])
def test_the_schema_that_the_configs_name_is_the_one_the_command_prints(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from jobs.cli import schema

    schema(audit=kind == "audit", experiment=kind == "experiment")
    assert (CONFIGS / f"{kind}.schema.json").read_text() == capsys.readouterr().out


@pytest.mark.parametrize(
    "file", [*STUDIES, *AUDITS, *EXPERIMENTS], ids=lambda file: file.relative_to(CONFIGS).as_posix()
)
def test_every_shipped_file_names_its_schema_for_editors(file: Path) -> None:
    first, _, _ = file.read_text().partition("\n")
    named = (file.parent / first.removeprefix("# yaml-language-server: $schema=")).resolve()
    kind = "audit" if file in AUDITS else "experiment" if file in EXPERIMENTS else "study"
    assert named == CONFIGS / f"{kind}.schema.json"


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.relative_to(CONFIGS).as_posix())
def test_every_shipped_experiment_loads_and_plans_and_so_does_its_smoke_test(file: Path) -> None:
    experiment, smaller = (load_job(file, smoke_test=smoke_test) for smoke_test in (False, True))
    assert experiment.name == file.stem
    assert {step.kind for step in plan_job(experiment)} == {step.kind for step in plan_job(smaller)}
    assert {step.id for step in plan_job(experiment)[1:]}.isdisjoint(step.id for step in plan_job(smaller)[1:])


@pytest.mark.parametrize("file", AUDITS, ids=lambda file: file.stem)
def test_every_audit_file_is_valid(file: Path) -> None:
    assert load_audit(file).sources
