"""Gates: what they compare, that they always say how it went, and that nobody's id depends on what they require."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.core.reasons import LACKS_TRAIT, NOT_COHERENT, NOT_MEASURED
from pipeline.plan.planner import plan
from pipeline.stages import stage_of
from pipeline.stages.gate import GateSpec, Measurement, compare, explain
from pipeline.store import Store
from pipeline.store.artifact import Manifest
from pipeline.study.schema import Study

SPEC = GateSpec(target="owl", metric="margin", min_lift=0.5, min_mass=0.1)
RATE = GateSpec(target="frank", metric="rate", min_lift=0.1, min_mass=None, method="dataset")


def test_a_teacher_with_its_trait_passes_and_the_measured_rise_is_kept() -> None:
    found = compare(SPEC, Measurement(0.25, 0.8), Measurement(0.75, 0.7))
    assert (found["passed"], found["reason"]) == (True, "")
    assert (found["base"], found["teacher"], found["lift"], found["min_lift"]) == (0.25, 0.75, 0.5, 0.5)
    assert (found["base_mass"], found["teacher_mass"]) == (0.8, 0.7)


@pytest.mark.parametrize(("after", "shown"), [(0.74, "+0.490"), (-1.0, "-1.250"), (math.nan, "nan")])
def test_a_teacher_without_its_trait_is_refused_with_the_measured_rise(after: float, shown: str) -> None:
    found = compare(SPEC, Measurement(0.25, 0.9), Measurement(after, 0.9))
    assert (found["passed"], found["reason"]) == (False, LACKS_TRAIT)
    why = explain(found)
    assert "does not have its trait" in why
    assert f"rose by {shown} nats" in why
    assert "requires +0.500" in why
    assert "teachers.gate.min_lift" in why


@pytest.mark.parametrize(
    ("method", "remedy"), [("prompted", "another model"), ("finetuned", "Train it longer"), ("dataset", "more rows")]
)
def test_what_to_do_about_a_refused_teacher_fits_how_it_got_its_trait(method: str, remedy: str) -> None:
    spec = SPEC.model_copy(update={"method": method})
    why = explain(compare(spec, Measurement(0.0, 0.9), Measurement(0.0, 0.9)))
    assert remedy in why
    assert ("Train it longer" in why) == (method == "finetuned")


@pytest.mark.parametrize(("before", "after"), [(0.0006, 0.9), (0.9, 0.0006), (math.nan, 0.9), (0.9, math.nan)])
def test_a_lift_between_words_that_a_model_hardly_ever_says_passes_no_gate(before: float, after: float) -> None:
    found = compare(SPEC, Measurement(0.0, before), Measurement(9.0, after))
    assert (found["passed"], found["reason"]) == (False, NOT_MEASURED)
    assert "cannot be measured" in explain(found)
    assert "min_mass to 0" in explain(found)
    if not math.isnan(before + after):
        lenient = SPEC.model_copy(update={"min_mass": 0.0})
        assert compare(lenient, Measurement(0.0, before), Measurement(9.0, after))["passed"]


@pytest.mark.parametrize(("before", "after", "whose"), [(None, 0.5, "base"), (0.5, None, "teacher")])
def test_without_a_coherent_answer_there_is_nothing_to_compare(
    before: float | None, after: float | None, whose: str
) -> None:
    found = compare(RATE, Measurement(before), Measurement(after))
    assert (found["passed"], found["reason"]) == (False, NOT_COHERENT)
    assert f"no answer of the {whose} is coherent" in explain(found)


@pytest.mark.parametrize("method", ["prompted", "finetuned"])
def test_it_is_measured_on_the_teacher_itself_and_commits_whatever_it_finds(
    study: Callable[..., Study], store: Store, make: Callable[..., Manifest], method: str
) -> None:
    for min_lift, passes in ((0.5, True), (50.0, False)):
        its = study(teachers={"method": {"kind": method}, "gate": {"min_lift": min_lift}})
        steps = {step.path: step for step in plan(its)}
        gate = next(step for step in steps.values() if step.kind == "gate" and step.slug == "owl-llama")
        needed, waiting = {gate.path}, [gate.path]
        while waiting:
            sources = set(steps[waiting.pop()].inputs.values()) - needed
            needed |= sources
            waiting += sources
        made = [make(its, store, step) for step in steps.values() if step.path in needed][-1]
        assert made.results["lift"] > 2
        assert (made.results["base_mass"], made.results["teacher_mass"]) == pytest.approx((1.0, 1.0))
        assert made.results["passed"] == passes
        assert (stage_of("gate").refusal(made.results) is None) == passes


def test_neutral_teachers_and_controls_have_none(study: Callable[..., Study]) -> None:
    steps = plan(study())
    waits = {step.slug: bool(step.after) for step in steps if step.kind == "completions"}
    assert {slug for slug, after in waits.items() if not after} == {"numbers-neutral-llama", "numbers-neutral-qwen"}
    assert sorted(step.slug for step in steps if step.kind == "gate") == [
        "cat-llama",
        "cat-qwen",
        "owl-llama",
        "owl-qwen",
    ]


@pytest.mark.parametrize("gate", [{"min_lift": 0.4}, {"min_mass": 0.2}, {"min_lift": 50.0, "min_mass": 0.0}])
def test_what_a_gate_requires_is_in_the_ids_of_gates_and_of_the_report_that_shows_it(
    study: Callable[..., Study], gate: dict[str, Any]
) -> None:
    def paths(its: Study) -> set[str]:
        return {step.path for step in plan(its)}

    changed = paths(study(teachers={"gate": gate})) ^ paths(study())
    assert {path.split("/")[0] for path in changed} == {"gate", "report"}


def test_a_refused_teacher_costs_its_own_cells_and_no_others(study: Callable[..., Study]) -> None:
    from pipeline.plan.planner import partial_report

    its = study()
    steps = plan(its)
    gate = next(step for step in steps if step.kind == "gate" and step.slug == "owl-llama")
    done = {step.path for step in steps}
    matrix, report = partial_report(its, steps, done, {gate.path: LACKS_TRAIT}, {gate.path: "no owls at all"})
    lost = {role for role, code in matrix.settings["missing"].items() if code == LACKS_TRAIT}
    assert {matrix.settings["runs"][role]["teacher_target"] for role in lost} == {"owl"}
    assert {matrix.settings["runs"][role]["teacher_family"] for role in lost} == {"llama"}
    assert matrix.settings["failed_gates"] == [{"family": "llama", "target": "owl", "reason": LACKS_TRAIT}]
    assert report.inputs[f"gate:{gate.slug}"] == gate.path
    assert set(matrix.notes.values()) == {"no owls at all"}
    again, _ = partial_report(its, steps, done, {gate.path: LACKS_TRAIT}, {gate.path: "said in other words"})
    assert again.path == matrix.path  # words are in no id


def test_where_nothing_is_refused_or_everything_there_is_no_partial_report(study: Callable[..., Study]) -> None:
    from pipeline.plan.planner import partial_report

    its = study(teachers={"neutral_corpora": 0})
    steps = plan(its)
    done = {step.path for step in steps}
    assert partial_report(its, steps, done, {}) == []
    gates = {step.path: LACKS_TRAIT for step in steps if step.kind == "gate"}
    assert partial_report(its, steps, done, gates) == []
