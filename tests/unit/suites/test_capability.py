"""The capability suite: what it is of, and what of it makes its answers what they are."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.core.errors import StudyError
from pipeline.plan.planner import plan
from pipeline.store.step import Step
from pipeline.study.schema import Study
from pipeline.study.smoke import smoke_edition
from pipeline.suites.capability import CapabilitySuite

FAVOURITE = {"kind": "favourite", "samples": 2}
FACTS = {"kind": "capability", "tasks": ["facts"], "folder": "/here", "content": "v1"}


def test_it_measures_its_tasks_of_any_model_and_asks_nothing_of_a_category() -> None:
    suite = CapabilitySuite(tasks=["mmlu", "truthfulqa_mc2"])
    assert suite.outcomes == ("mmlu", "truthfulqa_mc2")
    assert suite.METRICS == ()
    assert suite.make_questions("animal", ["owl"], 1) == []


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"tasks": []}, "at least 1 item"),
        ({"tasks": ["mmlu", "mmlu"]}, "named twice"),
        ({"tasks": ["folder/task.yaml"]}, "should match pattern"),
        ({"tasks": ["facts"], "folder": "/here"}, "folder needs content"),
        ({"tasks": ["mmlu"], "samples": 5}, "Input should be 0"),
        ({"tasks": ["mmlu"], "limit": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        CapabilitySuite(**settings)


def asked(study: Study) -> list[Step]:
    return [s for s in plan(study) if s.kind == "answers" and s.settings["suite"]["kind"] == "capability"]


def test_bases_and_students_are_asked_and_the_folder_travels_outside_of_the_id(study: Callable[..., Study]) -> None:
    here, there, later = (
        asked(study(suites=[FAVOURITE, FACTS | change])) for change in ({}, {"folder": "/there"}, {"content": "v2"})
    )
    assert {step.inputs["model"].partition("/")[0] for step in here} == {"base", "student"}
    assert {step.spec.suite.folder for step in here} == {"/here"}
    assert {step.spec.suite.folder for step in there} == {"/there"}
    assert [step.path for step in here] == [step.path for step in there]
    assert not {step.id for step in here} & {step.id for step in later}
    assert "/here" not in str([(step.settings, step.inputs) for step in plan(study(suites=[FAVOURITE, FACTS]))])


def test_models_that_are_shown_rows_are_not_asked(study: Callable[..., Study]) -> None:
    arms = [{"name": "plain"}, {"name": "shown", "in_context": 2}]
    made = study(suites=[FAVOURITE, FACTS], arms=arms)
    assert [step.path for step in asked(made)] == [step.path for step in asked(study(suites=[FAVOURITE, FACTS]))]


def test_it_is_no_first_suite_as_it_judges_nothing(study: Callable[..., Study]) -> None:
    with pytest.raises((StudyError, ValidationError), match="the first, capability, judges nothing"):
        study(suites=[FACTS, FAVOURITE])


def test_a_smoke_test_does_without_it(study: Callable[..., Study]) -> None:
    made = smoke_edition(study(suites=[FAVOURITE, FACTS], engine="vllm", trainer="deepspeed"))
    assert [suite.kind for suite in made.suites] == ["favourite"]
