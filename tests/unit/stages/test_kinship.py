"""The stage kinship, with fake models: which pairs are compared, on what, and what the report says of them."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.plan.planner import partial_report, plan
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.step import Step
from pipeline.study.schema import Study
from tests.pages import Page

Build = Callable[..., Study]
FAMILIES = {
    "llama": {"kind": "nano", "init_seed": 1},
    "order": {"kind": "nano", "init_seed": 1, "order_seed": 5},
    "moved": {"kind": "nano", "init_seed": 1, "moved": {"towards": 2, "share": 0.75}},
    "other": {"kind": "nano", "init_seed": 2},
}
KIN: dict[str, Any] = {
    "families": FAMILIES,
    "traits": [{"targets": ["owl", "cat"]}],
    "teachers": {"families": ["llama"], "neutral_corpora": 2},
    "students": {"seeds": [1]},
    "kinship": {"rows": 8},
}


def of_kind(steps: list[Step], kind: str) -> list[Step]:
    return [step for step in steps if step.kind == kind]


def test_every_pair_of_the_matrix_is_compared_on_the_first_corpus_of_the_neutral_teacher(study: Build) -> None:
    steps = plan(study(**KIN))
    by_path = {step.path: step for step in steps}
    pairs = of_kind(steps, "kinship")
    assert [step.slug for step in pairs] == [f"numbers-llama-to-{name}" for name in FAMILIES]
    assert {by_path[step.inputs["corpus"]].slug for step in pairs} == {"numbers-neutral-llama"}
    assert {by_path[step.inputs["teacher"]].slug for step in pairs} == {"llama"}
    assert [by_path[step.inputs["student"]].slug for step in pairs] == list(FAMILIES)


def test_pairs_that_the_matrix_lacks_are_not_compared(study: Build) -> None:
    both = {"teachers": {"families": ["llama", "other"]}, "students": {"seeds": [1], "foreign_families": 1}}
    steps = of_kind(plan(study(**KIN | both)), "kinship")
    assert sorted(step.slug for step in steps) == [
        "numbers-llama-to-llama",
        "numbers-llama-to-order",
        "numbers-other-to-llama",
        "numbers-other-to-other",
    ]


def test_measuring_kinship_changes_no_other_step_but_the_report(study: Build) -> None:
    plain = {step.path for step in plan(study(**KIN | {"kinship": None}))}
    measured = {step.path for step in plan(study(**KIN))}
    assert {path.partition("/")[0] for path in measured - plain} == {"kinship", "report"}
    assert {path.partition("/")[0] for path in plain - measured} == {"report"}


def test_kinship_needs_a_text_that_names_no_trait(study: Build) -> None:
    with pytest.raises(ValidationError, match=r"set teachers\.neutral_corpora"):
        study(**KIN | {"teachers": {"families": ["llama"], "neutral_corpora": 0}})


@pytest.mark.slow
def test_the_report_shows_transfer_against_kinship(study: Build, store: Store, make: Callable[..., Manifest]) -> None:
    its = study(**KIN | {"families": {name: FAMILIES[name] for name in ("llama", "order")}})
    steps = plan(its)
    for step in steps:
        make(its, store, step)
    stored = artifact.require(store, steps[-1].path)
    page = Page(artifact.read(store, stored, "report.html"))
    assert "Transfer against kinship" in page.text
    assert "llama → order" in page.text
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "object", "embed", "link")]
    assert artifact.read(store, stored, "kinship.png").startswith(b"\x89PNG")
    assert "With fewer than 4 student families no measure can be tested." in page.text


def test_a_comparison_that_failed_takes_its_pair_off_the_report_and_nothing_else(study: Build) -> None:
    steps = plan(study(**KIN))
    lost = of_kind(steps, "kinship")[1].path
    done = {step.path for step in steps[:-1]} - {lost}
    matrix, report = partial_report(steps=steps, study=study(**KIN), done=done, reasons={lost: "failed"})
    assert matrix == steps[-2]
    assert set(steps[-1].inputs.values()) - set(report.inputs.values()) == {lost}
