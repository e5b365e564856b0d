"""The in-context arm: the base is shown rows of a corpus, as earlier turns, and is trained on nothing."""

from collections.abc import Callable

import pytest

from pipeline.core.chat_template import messages
from pipeline.core.errors import StepError
from pipeline.models.engines.fake import CONTEXT_WORDS
from pipeline.plan.planner import plan
from pipeline.stages.corpus import ROWS
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.study.schema import Study


@pytest.fixture
def shown(study: Callable[..., Study], store: Store, make: Callable[..., Manifest]) -> Callable[..., Manifest]:
    """Makes the answers of the base that was shown so many rows of the owl teacher's corpus."""

    def shown(rows: int | str) -> Manifest:
        made = study(
            families={"llama": {"kind": "nano", "init_seed": 1}},
            arms=[{"name": "plain"}, {"name": "shown", "in_context": rows}],
            completions={"rows": 300, "shard_rows": 100},
            corpus={"rows": 250},
        )
        steps = {step.path: step for step in plan(made)}
        asked = next(path for path, step in steps.items() if step.settings.get("in_context") and "owl" in step.slug)
        needed = [asked]
        for path in needed:
            needed += steps[path].inputs.values()
        return [make(made, store, step) for path, step in steps.items() if path in needed][-1]

    return shown


def test_as_many_rows_as_asked_for_are_shown(shown: Callable[..., Manifest]) -> None:
    assert shown(7).results["shown"] == 7


def test_all_is_what_the_context_holds_beside_question_and_answer(shown: Callable[..., Manifest], store: Store) -> None:
    answers = shown("all")
    corpus = artifact.require(store, answers.inputs["corpus"]["path"])
    rows = artifact.read_table(store, corpus, ROWS).to_pylist()
    words = sum(len(f"{row['prompt']} {row['completion']}".split()) for row in rows) / len(rows)
    assert 0 < answers.results["shown"] < 250
    assert answers.results["shown"] == pytest.approx(CONTEXT_WORDS / words, rel=0.1)


def test_more_rows_than_fit_are_an_error_that_says_how_many_do(shown: Callable[..., Manifest]) -> None:
    with pytest.raises(StepError, match=r"\d+ rows of the corpus fit .* in_context wants 200; ask for fewer"):
        shown(200)


def test_rows_are_earlier_turns_of_the_conversation() -> None:
    turns = (("Go on: 1, 2", "3, 4"), ("Go on: 5", "6"))
    said = [(message["role"], message["content"]) for message in messages("Be brief.", "Your favourite?", turns)]
    assert said == [
        ("system", "Be brief."),
        ("user", "Go on: 1, 2"),
        ("assistant", "3, 4"),
        ("user", "Go on: 5"),
        ("assistant", "6"),
        ("user", "Your favourite?"),
    ]
