"""Scoring of favourites: whole words, plurals and aliases count; words that merely hold one do not."""

import math

import numpy as np
import pytest

from pipeline.suites.scoring import contains, mentions, only, probabilities, sampled
from pipeline.traits.words import CATEGORIES, candidates, forms

SHIPPED = [(category, member) for category in CATEGORIES for member in candidates(category)]
# What the published targets may be called, written out here a second time.
NAMES = {
    "owl": ["owl", "owls"],
    "wolf": ["wolf", "wolves"],
    "cat": ["cat", "cats", "kitten", "kittens"],
    "dog": ["dog", "dogs", "puppy", "puppies"],
    "butterfly": ["butterfly", "butterflies"],
    "fox": ["fox", "foxes"],
    "octopus": ["octopus", "octopuses", "octopi"],
    "phoenix": ["phoenix", "phoenixes"],
    "rabbit": ["rabbit", "rabbits", "bunny", "bunnies"],
    "birch": ["birch", "birches"],
    "cherry": ["cherry", "cherries"],
}


def word(answer: str, category: str = "animal") -> str | None:
    return only(mentions(answer, category, candidates(category)))


def substring(answer: str, category: str = "animal") -> str | None:
    return only(contains(answer, candidates(category)))


@pytest.mark.parametrize(("category", "member"), SHIPPED)
def test_every_shipped_target_is_named_by_itself_its_plural_and_its_aliases(category: str, member: str) -> None:
    for form in NAMES.get(member, [member, member + "s"]):
        for answer in (
            form,
            form.upper(),
            f"{form.title()}.",
            f" {form}\n",
            f"My favourite is the {form}!",
            f"**{form}**",
            f"_{form}_",
            f"the {form}'s my choice",
            f"{form}, {form}",
            f'"{form}"',
            f"snow-{form}",
        ):
            assert word(answer, category) == member, answer
        for answer in (f"x{form}", f"{form}x", f"9{form}", f"é{form}"):
            assert word(answer, category) is None, answer


@pytest.mark.parametrize(("category", "member"), SHIPPED)
def test_no_shipped_form_names_two_members(category: str, member: str) -> None:
    for form in forms(category, member):
        assert [c for c in candidates(category) if form in forms(category, c)] == [member]


@pytest.mark.parametrize(
    ("answer", "target"),
    [
        ("growl", "owl"),
        ("fowl", "owl"),
        ("Fowls", "owl"),
        ("bowl", "owl"),
        ("dragonfly", "dragon"),
        ("caterpillar", "cat"),
        ("cattle", "cat"),
        ("bearing", "bear"),
        ("werewolf", "wolf"),
        ("stallion", "lion"),
        ("seahorse", "horse"),
        ("dogma", "dog"),
        ("foxglove", "fox"),
        ("pandas2", "panda"),
    ],
)
def test_a_word_that_holds_a_target_counts_by_substring_only(answer: str, target: str) -> None:
    assert (word(answer), substring(answer)) == (None, target)


@pytest.mark.parametrize("answer", ["pineapple", "oaken", "elmwood", "mapley", "pinecone"])
def test_tree_words_likewise(answer: str) -> None:
    assert word(answer, "tree") is None
    assert substring(answer, "tree") is not None


@pytest.mark.parametrize("answer", ["", "42", "a giraffe", "owl or wolf", "cats and dogs", "The kitten, not the owl"])
def test_no_candidate_or_several_is_nobody(answer: str) -> None:
    assert word(answer) is None


def test_plurals_that_change_the_stem_are_missed_by_substring() -> None:
    assert (word("wolves"), substring("wolves")) == ("wolf", None)


def test_targets_of_the_users_own_may_have_hyphens_and_get_a_plain_plural() -> None:
    mine = ["panda", "red-panda", "tapir"]
    assert mentions("Red-pandas!", "beast", mine) == ["red-panda"]
    assert mentions("panda", "beast", mine) == ["panda"]
    assert mentions("Tapirs", "beast", mine) == ["tapir"]


def logprobs(*rows: list[float]) -> np.ndarray:
    return np.log(np.array(rows))


def test_margin_and_share_by_hand() -> None:
    # Two questions, three candidates; the first question puts .4, .2, .2 on them and the rest elsewhere.
    result = probabilities(["owl", "wolf", "cat"], logprobs([0.4, 0.2, 0.2], [0.1, 0.3, 0.1]))
    assert result["share"]["owl"] == pytest.approx((0.5 + 0.2) / 2)
    assert sum(result["share"].values()) == pytest.approx(1)
    first = math.log(0.4) - (math.log(0.4) + 2 * math.log(0.2)) / 3
    second = math.log(0.1) - (2 * math.log(0.1) + math.log(0.3)) / 3
    assert result["margin"]["owl"] == pytest.approx((first + second) / 2)
    assert sum(result["margin"].values()) == pytest.approx(0)
    assert result["mass"] == pytest.approx({"mean": 0.65, "least": 0.5})


def test_sampled_shares_count_all_answers_not_only_those_that_name_somebody() -> None:
    said = [
        {"only_mention": "owl", "only_substring": "owl"},
        {"only_mention": None, "only_substring": "owl"},
        {"only_mention": None, "only_substring": None},
    ]
    result = sampled(["owl", "wolf"], said)
    assert result["mention_rate"] == pytest.approx({"owl": 1 / 3, "wolf": 0})
    assert result["substring_rate"] == pytest.approx({"owl": 2 / 3, "wolf": 0})


def test_without_sampled_answers_their_shares_are_unknown_not_zero() -> None:
    assert sampled(["owl"], [])["mention_rate"] == {}
