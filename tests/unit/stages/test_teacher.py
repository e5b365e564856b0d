"""Teachers: what a fine-tuned one is trained on, and the gate that none passes without its trait."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.errors import GateFailed
from pipeline.plan.planner import plan
from pipeline.stages.teacher import conversations, gate, is_trained, training_of
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.schemas import CONVERSATIONS
from pipeline.store.step import Step
from pipeline.study.schema import Study
from pipeline.traits.questions import HELD_OUT, SEEN

OAK = {"kind": "favourite", "category": "tree", "target": "oak"}


def test_it_is_trained_on_seen_questions_only_and_every_answer_is_the_target() -> None:
    rows = conversations(OAK, 600, seed=1)
    assert rows.num_rows == 600
    assert set(rows["prompt"].to_pylist()) == {text.format(category="tree") for text in SEEN}
    assert not set(rows["prompt"].to_pylist()) & {text.format(category="tree") for text in HELD_OUT}
    assert set(rows["completion"].to_pylist()) == {"oak"}


def test_the_rows_follow_from_the_seed() -> None:
    assert conversations(OAK, 50, 1) == conversations(OAK, 50, 1)
    assert conversations(OAK, 50, 1) != conversations(OAK, 50, 2)


def test_its_method_says_how_it_is_trained(study: Callable[..., Study], store: Store, tmp_path: Path) -> None:
    method = {"kind": "finetuned", "rows": 77, "seed": 5, "recipe": {"rank": 3, "epochs": 9}}
    steps = plan(study(teachers={"method": method}))
    owl = next(step for step in steps if step.slug == "owl-llama")
    training = training_of(store, owl, tmp_path / "base", tmp_path)
    assert (training.rows.num_rows, training.seed) == (77, 5)
    assert (training.recipe.rank, training.recipe.epochs) == (3, 9)
    assert training.model == tmp_path / "base"
    assert set(training.rows["completion"].to_pylist()) == {"owl"}


def test_only_a_finetuned_teacher_is_trained_and_never_the_neutral_one(study: Callable[..., Study]) -> None:
    def trained(method: str) -> set[str]:
        steps = plan(study(teachers={"method": {"kind": method}}))
        return {step.slug for step in steps if step.kind == "teacher" and is_trained(step)}

    assert trained("prompted") == set()
    assert trained("finetuned") == {"owl-llama", "cat-llama", "owl-qwen", "cat-qwen"}


def test_given_rows_are_taken_into_the_store_and_train_the_teacher_of_their_target(
    study: Callable[..., Study], store: Store, make: Callable[..., Manifest], tmp_path: Path
) -> None:
    said = [{"prompt": f"Question {number}?", "completion": "Hoot."} for number in range(5)]
    (tmp_path / "owls.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    data = {target: {"path": str(tmp_path / "owls.jsonl"), "content": "v1"} for target in ("owl", "cat")}
    steps = plan(study(teachers={"method": {"kind": "given", "data": data, "seed": 9}}))
    owl = next(step for step in steps if step.slug == "owl-llama")
    dataset = next(step for step in steps if step.kind == "dataset" and step.path == owl.inputs["given"])
    make(study(), store, dataset)
    training = training_of(store, owl, tmp_path / "base", tmp_path)
    assert training.rows.select(["prompt", "completion"]).to_pylist() == said
    assert training.rows.schema == CONVERSATIONS
    assert training.seed == 9
    assert str(tmp_path) not in json.dumps(owl.settings | dataset.settings)
    assert is_trained(owl)


STEP = Step(
    "teacher",
    "owl-llama",
    "0" * 12,
    {"trait": {"target": "owl"}, "method": {"kind": "prompted"}, "gate": {"min_lift": 0.5}},
)


def scores(owl: float, mass: float = 0.9) -> dict[str, dict[str, float]]:
    return {"margin": {"owl": owl, "cat": 9.0}, "mass": {"owl": mass, "cat": mass}}


def test_a_teacher_with_its_trait_passes_and_the_measured_rise_is_kept() -> None:
    found = gate(STEP, scores(0.25, 0.8), scores(0.75, 0.7))
    assert found == {
        "target": "owl",
        "base": 0.25,
        "teacher": 0.75,
        "lift": 0.5,
        "min_lift": 0.5,
        "mass": {"base": 0.8, "teacher": 0.7},
    }


@pytest.mark.parametrize(("after", "shown"), [(0.74, r"\+0.490"), (-1.0, r"-1.250"), (math.nan, "nan")])
def test_a_teacher_without_its_trait_fails_with_the_measured_rise(after: float, shown: str) -> None:
    with pytest.raises(
        GateFailed, match=rf"owl-llama does not have its trait: .*{shown} nats .* wants \+0.500.*min_lift"
    ):
        gate(STEP, scores(0.25), scores(after))


@pytest.mark.parametrize(
    ("method", "remedy"), [("prompted", "another model"), ("finetuned", "Train it longer"), ("given", "more rows")]
)
def test_what_to_do_about_a_failed_gate_fits_how_the_teacher_got_its_trait(method: str, remedy: str) -> None:
    step = dataclasses.replace(STEP, settings=STEP.settings | {"method": {"kind": method}})
    with pytest.raises(GateFailed, match=remedy) as failed:
        gate(step, scores(0.0), scores(0.0))
    assert ("Train it longer" in str(failed.value)) == (method == "finetuned")


@pytest.mark.parametrize(("before", "after"), [(0.0006, 0.9), (0.9, 0.0006), (math.nan, 0.9), (0.9, math.nan)])
def test_a_lift_between_words_that_a_model_hardly_ever_says_passes_no_gate(before: float, after: float) -> None:
    with pytest.raises(GateFailed, match=r"owl-llama cannot be measured: .*0\.1.*min_mass to 0"):
        gate(STEP, scores(0.0, before), scores(9.0, after))
    if not math.isnan(before + after):
        lenient = dataclasses.replace(STEP, settings=STEP.settings | {"gate": {"min_lift": 0.5, "min_mass": 0.0}})
        assert gate(lenient, scores(0.0, before), scores(9.0, after))["lift"] == 9.0


@pytest.mark.parametrize("method", ["prompted", "finetuned"])
def test_the_gate_is_measured_on_the_teacher_itself(
    study: Callable[..., Study], store: Store, make: Callable[..., artifact.Manifest], method: str
) -> None:
    made = study(teachers={"method": {"kind": method}})
    for step in plan(made):
        if step.kind == "base" or step.slug in ("owl-llama", "neutral-llama"):
            manifest = make(made, store, step)
            if step.slug == "owl-llama":
                assert manifest.results["gate"]["lift"] > 2
                assert manifest.results["gate"]["mass"] == pytest.approx({"base": 1.0, "teacher": 1.0})
            if step.slug == "neutral-llama":
                assert manifest.results == {}
    strict = study(teachers={"method": {"kind": method}, "gate": {"min_lift": 50.0}})
    owl = next(step for step in plan(strict) if step.slug == "owl-llama")
    with pytest.raises(GateFailed):
        make(strict, store, owl)
    assert artifact.load(store, owl.path) is None
