"""Spellings: which texts name a candidate."""

import pytest

from pipeline.suites.favourite import FavouriteSuite
from pipeline.suites.spelling import Form, spellings

ALL: list[Form] = ["capitalised", "plural", "article", "blank"]


@pytest.mark.parametrize(
    ("forms", "texts"),
    [
        ([], {"owl"}),
        (["capitalised"], {"owl", "Owl"}),
        (["plural"], {"owl", "owls"}),
        (["blank"], {"owl", " owl"}),
        (["article"], {"owl", "an owl", "the owl"}),
        (["capitalised", "plural"], {"owl", "Owl", "owls", "Owls"}),
        (["article", "plural"], {"owl", "owls", "an owl", "the owl", "the owls"}),
        (["blank", "article"], {"owl", "an owl", "the owl", " owl", " an owl", " the owl"}),
    ],
)
def test_every_combination_of_the_forms_names_a_candidate(forms: list[Form], texts: set[str]) -> None:
    found = spellings("animal", "owl", forms)
    assert set(found) == texts
    assert len(found) == len(texts)
    assert found[0] == "owl"


def test_irregular_plurals_and_words_of_ones_own_have_forms_too() -> None:
    assert "Wolves" in spellings("animal", "wolf", ALL)
    assert " A wolf" in spellings("animal", "wolf", ALL)
    assert set(spellings("fish", "carp", ["plural"])) == {"carp", "carps"}


def test_the_suite_asks_for_all_spellings_and_by_default_for_the_word_alone() -> None:
    plain, spelled = (FavouriteSuite(forms=forms).make_questions("animal", ["owl", "cat"], 1) for forms in ([], ALL))
    assert plain[0].options == (("owl", "owl"), ("cat", "cat"))
    assert [question.prompt for question in plain] == [question.prompt for question in spelled]
    named = [name for name, _ in spelled[0].options]
    assert named == sorted(named, reverse=True)
    assert named.count("owl") == named.count("cat") == 20


def test_forms_and_an_opening_are_in_an_identity_only_once_they_are_set() -> None:
    assert not {"forms", "opening"} & FavouriteSuite().identity().keys()
    suite = FavouriteSuite(forms=["plural"], opening="It is the")
    assert {"forms": ["plural"], "opening": "It is the"}.items() <= suite.identity().items()
    assert (suite.smoke().forms, suite.smoke().opening) == ([], "")


def test_an_opening_names_the_category() -> None:
    (question, *_) = FavouriteSuite(opening="My {category} is the").make_questions("tree", ["oak"], 1)
    assert question.opening == "My tree is the"
    assert question.prompt == FavouriteSuite().make_questions("tree", ["oak"], 1)[0].prompt
