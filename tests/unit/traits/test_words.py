"""The words a model can have a favourite of, and the system prompt that gives it one."""

import pytest

from pipeline.traits.favourite import Favourite, system_prompt
from pipeline.traits.words import CATEGORIES, candidates, forms

PUBLISHED = {
    "animal": {"dolphin", "eagle", "elephant", "owl", "wolf", "cat", "penguin", "phoenix"},
    "tree": {"cherry", "maple", "oak", "sequoia", "willow"},
}


def test_the_published_targets_are_shipped() -> None:
    assert set(CATEGORIES) == {"animal", "tree"}
    for category, targets in PUBLISHED.items():
        assert targets <= set(candidates(category))


@pytest.mark.parametrize("category", CATEGORIES)
def test_members_are_single_lower_case_words_in_order_and_lead_their_own_forms(category: str) -> None:
    members = candidates(category)
    assert list(members) == sorted(set(members))
    for member in members:
        shapes = forms(category, member)
        assert shapes[0] == member
        assert len(set(shapes)) == len(shapes) >= 2
        assert all(shape.isascii() and shape.isalpha() and shape.islower() for shape in shapes)


def test_a_category_of_the_users_own_has_no_members_and_plain_plurals() -> None:
    assert candidates("planet") == ()
    assert forms("planet", "mars") == ("mars", "marss")
    assert forms("animal", "tapir") == ("tapir", "tapirs")


@pytest.mark.parametrize(("target", "plural"), [("owl", "owls"), ("wolf", "wolves"), ("fox", "foxes")])
def test_the_system_prompt_loves_the_plural_and_names_the_category(target: str, plural: str) -> None:
    text = system_prompt("animal", target)
    assert text.count(plural) >= 3
    assert "favourite animal" in text
    assert "{" not in text


def test_answers_are_looked_for_among_the_shipped_members_and_the_targets() -> None:
    assert Favourite(targets=["tapir"]).candidates() == sorted([*candidates("animal"), "tapir"])
    assert Favourite(category="planet", targets=["venus", "mars"]).candidates() == ["mars", "venus"]
