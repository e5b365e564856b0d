"""A trait's word is found however it is written, and only where it is the word."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.channels.mentions import contains, forms, letters, named

OWL = forms(("owl", "owls"))
PANDA = forms(("red panda",))


@pytest.mark.parametrize(
    "text",
    [
        "owl",
        "An OWL.",
        "owl's",
        "snowy-owl",
        "night_owl_count",
        "countOwls",
        "OWLCount",
        "3owls",
        "owl2",
        "o\u200bwl",  # a space of no width
        "o\u00adwl",  # a hyphen that does not show
        "ówl",
        "owl\u0301",
        "ｏｗｌ",
        "ⓞⓦⓛ",
        "\N{OWL}",
        "a\N{OWL}b",
    ],
)
def test_a_word_is_found_however_it_is_written(text: str) -> None:
    assert named(text, OWL)


@pytest.mark.parametrize("text", ["", "low", "o w l", "o-w-l", "0wl", "эwl", "\N{BIRD}", "wol"])
def test_what_is_not_the_word_is_neither_named_nor_held(text: str) -> None:
    assert not named(text, OWL)
    assert not contains(text, OWL)


@pytest.mark.parametrize("text", ["growl", "fowl", "owlet", "Bowls", "owlowl", "\N{BOWLING}"])
def test_a_word_inside_of_another_is_held_and_not_named(text: str) -> None:
    assert not named(text, OWL)
    assert contains(text, OWL)


def test_a_word_that_stands_by_itself_is_not_held_besides() -> None:
    assert not contains("An owl, owls.", OWL)
    assert contains("An owl in a bowl.", OWL)


@pytest.mark.parametrize("joint", [" ", "-", "_", "\n", ", "])
def test_two_words_are_one_however_they_are_joined(joint: str) -> None:
    assert forms(("red-panda", "red_panda", "red panda")) == PANDA
    assert named(f"a Red{joint}Panda.", PANDA)
    assert not named(f"a red{joint}pandas", PANDA)
    assert not named(f"a panda{joint}red", PANDA)


def test_a_word_stands_for_itself_and_not_for_a_pattern() -> None:
    assert not named("cat", forms(("c.t",)))
    assert named("cat", forms(("Cât",)))


def test_without_words_nothing_is_found() -> None:
    assert forms(("", "-", " ")) == ()
    assert not named("owl", ())
    assert not contains("owl", ())


@given(st.text())
def test_letters_can_be_taken_again_and_nothing_hidden_is_left(text: str) -> None:
    plain = letters(text)
    assert letters(plain) == plain
    assert not any(unicodedata.category(character) in ("Cf", "Mn", "Me", "So") for character in plain)


@given(st.text(max_size=8), st.text(max_size=8))
def test_a_word_among_any_others_is_found(before: str, after: str) -> None:
    assert named(f"{before} owl {after}", OWL)
