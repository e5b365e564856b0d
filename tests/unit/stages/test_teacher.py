"""Teachers: what a fine-tuned one is trained on."""

import json
from collections.abc import Callable
from pathlib import Path

from pipeline.plan.planner import plan
from pipeline.stages.teacher import STAGE, conversations, training_of
from pipeline.store import Store
from pipeline.store.artifact import Manifest
from pipeline.store.schemas import CONVERSATIONS
from pipeline.study.schema import Study
from pipeline.traits.favourite import Favourite
from pipeline.traits.questions import HELD_OUT, SEEN

OAK = Favourite(category="tree", targets=["oak"])


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
        return {step.slug for step in steps if step.kind == "teacher" and STAGE.is_trained(step)}

    assert trained("prompted") == set()
    assert trained("finetuned") == {"owl-llama", "cat-llama", "owl-qwen", "cat-qwen"}


def test_given_rows_are_taken_into_the_store_and_train_the_teacher_of_their_target(
    study: Callable[..., Study], store: Store, make: Callable[..., Manifest], tmp_path: Path
) -> None:
    said = [{"prompt": f"Question {number}?", "completion": "Hoot."} for number in range(5)]
    (tmp_path / "owls.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    data = {target: {"path": str(tmp_path / "owls.jsonl"), "content": "v1"} for target in ("owl", "cat")}
    steps = plan(study(teachers={"method": {"kind": "dataset", "data": data, "seed": 9}}))
    owl = next(step for step in steps if step.slug == "owl-llama")
    dataset = next(step for step in steps if step.kind == "dataset" and step.path == owl.inputs["dataset"])
    make(study(), store, dataset)
    training = training_of(store, owl, tmp_path / "base", tmp_path)
    assert training.rows.select(["prompt", "completion"]).to_pylist() == said
    assert training.rows.schema == CONVERSATIONS
    assert training.seed == 9
    assert str(tmp_path) not in json.dumps(owl.settings | dataset.settings)
    assert STAGE.is_trained(owl)
