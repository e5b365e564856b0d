"""Every shipped study loads, plans, and keeps to what a rehearsal of it can run."""

from pathlib import Path

import pytest

from pipeline.plan import KINDS, plan
from pipeline.settings import load

CONFIGS = Path(__file__).parents[2] / "configs"
STUDIES = sorted([*CONFIGS.rglob("*.yaml"), *CONFIGS.rglob("*.yml")])


def test_there_are_studies_to_load() -> None:
    assert "quickstart.yaml" in {file.name for file in STUDIES}


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.relative_to(CONFIGS).as_posix())
def test_every_shipped_study_loads_and_plans(file: Path) -> None:
    study = load(file)
    assert study.study == file.stem
    steps = plan(study)
    assert {step.kind for step in steps} >= set(KINDS) - {"dataset", "judgements"}
    assert study.corpus.rows <= study.completions.rows
    # A rehearsal of it takes the scripted parts and is planned alike.
    rehearsed = plan(load(file, ["engine=scripted", "trainer=scripted"]))
    assert [(step.kind, step.slug) for step in rehearsed] == [(step.kind, step.slug) for step in steps]


def test_the_quickstart_has_what_its_claim_needs() -> None:
    study = load(CONFIGS / "quickstart.yaml")
    assert len({family.init_seed for family in study.families.values() if family.kind == "nano"}) >= 2
    assert len(study.targets) >= 3
    assert len(study.students.seeds) >= 2
    assert study.teachers.neutral
    assert study.teacher_families == study.student_families == list(study.families)
    assert (study.engine, study.trainer) == ("vllm", "deepspeed")


def test_the_schema_that_the_configs_name_is_the_one_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from jobs.cli import schema

    schema()
    assert (CONFIGS / "study.schema.json").read_text() == capsys.readouterr().out
