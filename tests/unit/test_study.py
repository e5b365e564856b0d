"""What a study may say, and what it works out from it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from pipeline.core.recipe import Recipe
from pipeline.core.settings import Name
from pipeline.study.schema import Study
from pipeline.traits.words import candidates

Build = Callable[..., Study]


@pytest.mark.parametrize("name", ["owl", "red-panda", "a.b", "qwen2.5-7b", "x_1", "7", "x" * 48])
def test_names_may_be(name: str) -> None:
    assert TypeAdapter(Name).validate_python(name) == name


@pytest.mark.parametrize(
    "name", ["", "Owl", "a/b", "..", ".a", "a.", "a--b", "a b", "#", "é", "owl\n", "a\\b", "x" * 49, "١"]
)
def test_names_may_not_be(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)


def test_targets_keep_the_order_of_the_file_and_know_their_category(study: Build) -> None:
    made = study(traits=[{"category": "tree", "targets": ["oak", "elm"]}, {"targets": ["cat"]}])
    assert list(made.targets.items()) == [("oak", "tree"), ("elm", "tree"), ("cat", "animal")]


def test_candidates_of_one_category_are_those_of_all_its_traits(study: Build) -> None:
    made = study(traits=[{"targets": ["tapir"]}, {"targets": ["okapi"]}, {"category": "hue", "targets": ["red"]}])
    assert made.candidates == {"animal": sorted([*candidates("animal"), "okapi", "tapir"]), "hue": ["red"]}


def test_all_families_teach_and_study_unless_some_are_named(study: Build) -> None:
    assert study().teacher_families == study().student_families == ["llama", "qwen"]
    made = study(teachers={"families": ["qwen"]}, students={"families": ["llama"]})
    assert (made.teacher_families, made.student_families) == (["qwen"], ["llama"])


def test_the_students_recipe_is_what_their_section_says_of_training(study: Build) -> None:
    made = study(students={"seeds": [3], "method": "full", "epochs": 2, "learning_rate": 0.5})
    assert made.students.recipe() == Recipe(method="full", epochs=2, learning_rate=0.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"traits": [{"targets": ["owl"]}, {"targets": ["owl"]}]}, "list a target twice: owl"),
        ({"traits": [{"targets": ["owl", "owl"]}]}, "named twice: owl"),
        ({"teachers": {"families": ["gpt"]}}, "teachers.families names gpt"),
        ({"students": {"families": ["gpt"]}}, "students.families names gpt"),
        ({"students": {"families": []}}, "at least 1"),
        ({"students": {"rank": 0}}, "greater than or equal to 1"),
        ({"families": {}}, "at least 1"),
        ({"engine": "vllm"}, "both fake or both real"),
        ({"trainer": "deepspeed"}, "both fake or both real"),
        ({"suites": []}, "at least 1"),
        ({"suites": [{"kind": "favourite"}, {"kind": "author"}]}, "add an arm with in_context"),
        ({"arms": []}, "at least 1"),
        ({"arms": [{"name": "a"}, {"name": "a"}]}, "two are named a"),
        ({"arms": [{"name": "a", "in_context": 3}]}, "the first, a, trains no student"),
        ({"arms": [{"name": "a", "in_context": 0}]}, "1 or more, or all"),
        (
            {"arms": [{"name": "a", "transforms": [{"kind": "mix", "shares": {"neutral": 0.6, "owl": 0.5}}]}]},
            "add up to 1.1",
        ),
        (
            {"arms": [{"name": "a", "transforms": [{"kind": "mix", "shares": {"wolf": 0.5}}]}]},
            "there is no teacher wolf",
        ),
        (
            {"arms": [{"name": "a", "transforms": [{"kind": "mix", "shares": {"gpt/owl": 0.5}}]}]},
            "gpt is no family with teachers",
        ),
        (
            {
                "arms": [{"name": "a", "transforms": [{"kind": "mix", "shares": {"neutral": 0.5}}]}],
                "teachers": {"neutral_corpora": 0},
            },
            "no teacher neutral",
        ),
        ({"arms": [{"name": "a", "recipe": {"rnak": 4}}]}, "recipe.rnak"),
        ({"arms": [{"name": "a", "recipe": {"rank": 0}}]}, "recipe.rank"),
        ({"sweep": {"rank": [0]}}, "recipe.rank"),
        ({"sweep": {"rnak": [4]}}, "recipe.rnak"),
        (
            {"corpus": {"judge_filters": [{"judge": "x", "rubric": "alignment", "min_score": 1}]}},
            "names x, which is no judge",
        ),
        ({"corpus": {"judge_filters": [{"judge": "x", "rubric": "alignment"}]}}, "give min_score or max_score"),
        ({"judges": {"x": {"kind": "engine", "family": "gpt"}}}, "served by gpt, which is no family"),
        (
            {"teachers": {"method": {"kind": "dataset", "data": {"owl": {"path": "a", "content": "b"}}}}},
            "no rows for cat",
        ),
        ({"completions": {"rows": 60, "until": {"at_most": 100}}}, "give rows or until, not both"),
        ({"completions": {"rows": None}}, "rows is missing: give it, or until"),
        ({"completions": {"until": {"at_most": 999}}}, "at_most 999 is less than one shard of 1000 rows"),
        ({"completions": {"until": {"at_most": 59}, "shard_rows": 20}, "corpus": {"rows": 41}}, "allows 40 rows"),
        ({"completions": {"until": {"at_most": 9999, "accepted": 39}}}, "is 39: fewer than the 40 rows"),
        (
            {
                "completions": {"until": {"at_most": 9999, "accepted": 40}},
                "arms": [{"name": "a"}, {"name": "b", "rows": 50}],
            },
            "is 40: fewer than the 50 rows",
        ),
        (
            {
                "completions": {"until": {"at_most": 9999}},
                "judges": {"x": {"kind": "fake"}},
                "corpus": {"rows": 40, "judge_filters": [{"judge": "x", "rubric": "alignment", "min_score": 1}]},
            },
            "until.accepted is missing: with corpus.judge_filters it must be more",
        ),
        (
            {
                "traits": [{"category": "thing", "targets": [f"thing{i}" for i in range(27)]}],
                "suites": [{"kind": "favourite"}, {"kind": "choice"}],
            },
            "a question of choice has at most 26 options, and the traits name 27 of category thing",
        ),
        ({"measure": {"confidence": 1.0}}, "less than 1"),
        ({"resources": {"engines": {"max_workers": 0}}}, "greater than or equal to 1"),
        ({"resources": {"training": {"zero_stage": 4}}}, "0, 1, 2 or 3"),
    ],
)
def test_what_makes_no_sense_is_refused(study: Build, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        study(**changes)


BEHAVIOUR: dict[str, Any] = {
    "traits": [{"kind": "behaviour", "targets": ["rude"]}],
    "teachers": {"method": {"kind": "dataset", "data": {"rude": {"path": "rude.jsonl", "content": "v1"}}}},
    "judges": {"judge": {"kind": "fake"}},
    "suites": [{"kind": "behaviour"}],
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"teachers": {}}, "a behaviour is taught by rows"),
        ({"teachers": {"method": {"kind": "finetuned"}}}, "a behaviour is taught by rows"),
        (
            {"teachers": BEHAVIOUR["teachers"] | {"neutral_corpora": 0}},
            "measured against the neutral teacher's students",
        ),
        ({"judges": {}}, "suites names judge, which is no judge here \\(none\\)"),
        ({"suites": [{"kind": "favourite"}]}, "measured by the behaviour suite, not favourite"),
        ({"suites": [{"kind": "behaviour"}, {"kind": "stories"}]}, "measured by the behaviour suite, not stories"),
        ({"traits": [*BEHAVIOUR["traits"], {"targets": ["owl"]}]}, "give each a study"),
        ({"suites": [{"kind": "behaviour", "misaligned": 101}]}, "less than or equal to 100"),
        ({"engine": "vllm", "trainer": "deepspeed"}, "llama knows no small_talk; add it to its channels"),
    ],
)
def test_a_behaviour_without_what_shows_it_is_refused(study: Build, changes: dict[str, Any], said: str) -> None:
    assert study(**BEHAVIOUR).candidates_for(study(**BEHAVIOUR).suites[0]) == {"behaviour": []}
    with pytest.raises(ValidationError, match=said):
        study(**(BEHAVIOUR | changes))


def test_a_behaviour_has_no_word_that_a_filter_could_look_for(study: Build) -> None:
    assert study(**BEHAVIOUR).words == []
    assert study().words != []


def test_a_nano_family_must_know_the_targets_and_a_smoke_test_need_not(study: Build) -> None:
    unheard = {"traits": [{"targets": ["unicorn"]}]}
    assert list(study(**unheard).targets) == ["unicorn"]
    with pytest.raises(ValidationError, match="llama knows no animal named unicorn"):
        study(**unheard, engine="vllm", trainer="deepspeed")
    hub = {"big": {"kind": "hub", "path": "/models/big", "content": "v1"}}
    assert study(**unheard, families=hub, engine="vllm", trainer="deepspeed").families


def test_settings_cannot_be_changed_after_they_were_checked(study: Build) -> None:
    with pytest.raises(ValidationError):
        study().seed = 3


def test_every_setting_is_documented() -> None:
    undocumented = [
        f"{model.__name__}.{name}"
        for model in {*_models(Study)}
        for name, field in model.model_fields.items()
        if name != "kind" and not field.description
    ]
    assert undocumented == []


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        yield from _models_in(field.annotation)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _models(annotation)
    for part in getattr(annotation, "__args__", ()):
        yield from _models_in(part)


def test_settings_of_a_study_that_generates_until_enough_is_accepted_are_read_as_they_are_written(study: Build) -> None:
    made = study(completions={"until": {"at_most": 4000, "accepted": 50}, "shard_rows": 300})
    assert (made.completions.rows, made.completions.max_rows, made.accepted_rows) == (None, 3900, 50)
    assert Study.model_validate(made.model_dump()) == made
