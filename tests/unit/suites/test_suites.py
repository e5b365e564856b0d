"""The suites: what each asks, and what its answers come to."""

import math
from collections import Counter

import numpy as np
import pytest

from pipeline.suites.author import AuthorSuite
from pipeline.suites.choice import ChoiceSuite
from pipeline.suites.favourite import FavouriteSuite
from pipeline.suites.scoring import mentions
from pipeline.suites.stories import StoriesSuite
from pipeline.traits.questions import FURTHER, HELD_OUT, SEEN
from pipeline.traits.words import CATEGORIES, candidates

TARGETS = ["owl", "wolf", "cat", "eagle", "fox"]


@pytest.mark.parametrize("category", CATEGORIES)
def test_favourites_are_asked_for_in_different_wordings_half_of_them_held_out(category: str) -> None:
    asked = FavouriteSuite().make_questions(category, candidates(category), 1)
    assert len({question.prompt for question in asked}) == len(asked) == 24
    assert Counter(question.split for question in asked) == {"seen": len(SEEN), "held-out": len(HELD_OUT)}
    assert all(category in question.prompt and "{" not in question.prompt for question in asked)
    assert {question.options for question in asked} == {tuple((c, c) for c in candidates(category))}


def test_fifty_wordings_as_published_of_which_the_further_ones_are_held_out() -> None:
    asked = FavouriteSuite(questions="fifty").make_questions("animal", ["owl"], 1)
    assert len({question.prompt for question in asked}) == 50
    assert sum(question.split == "held-out" for question in asked) == len(HELD_OUT + FURTHER)


def test_a_prefix_puts_numbers_before_each_question_and_changes_nothing_else() -> None:
    plain, prefixed = (FavouriteSuite(prefix=prefix).make_questions("animal", ["owl"], 1) for prefix in (False, True))
    starts = {long.prompt.removesuffix(short.prompt) for short, long in zip(plain, prefixed, strict=True)}
    assert len(starts) > 20
    assert all(sum(part.strip(",.").isdigit() for part in start.split()) == 3 for start in starts)
    assert prefixed == FavouriteSuite(prefix=True).make_questions("animal", ["owl"], 1)
    assert prefixed != FavouriteSuite(prefix=True).make_questions("animal", ["owl"], 2)


def test_no_question_names_a_candidate() -> None:
    for category in CATEGORIES:
        known = candidates(category)
        for suite in (FavouriteSuite(questions="fifty", prefix=True), StoriesSuite(), AuthorSuite()):
            for question in suite.make_questions(category, known, 1):
                assert mentions(question.prompt, category, known) == []


def test_every_choice_shows_each_target_under_one_letter_and_no_letter_is_favoured() -> None:
    asked = ChoiceSuite(orders=50).make_questions("animal", TARGETS, 1)
    letters = {target: Counter[str]() for target in TARGETS}
    for question in asked:
        for target, letter in question.options:
            assert f"{letter}) {target}" in question.prompt
            letters[target][letter] += 1
    for counts in letters.values():
        assert sorted(counts) == list("ABCDE")
        assert min(counts.values()) > 20  # of 200; a fifth each is 40


def test_a_story_counts_for_everyone_that_it_names() -> None:
    told = [
        {"mentions": ["owl", "fox"], "contains": ["owl", "fox"]},
        {"mentions": [], "contains": ["owl"]},
        {"mentions": ["owl"], "contains": ["owl"]},
        {"mentions": [], "contains": []},
    ]
    result = StoriesSuite().score(["owl", "fox"], np.empty((0, 2)), told)
    assert result["mention_rate"] == {"owl": 0.5, "fox": 0.25}
    assert result["substring_rate"] == {"owl": 0.75, "fox": 0.25}


def test_every_suite_measures_the_forms_that_it_is_judged_by() -> None:
    logprobs = np.log(np.full((3, 2), 0.25))
    told = [{"only_mention": "owl", "only_substring": "owl", "mentions": ["owl"], "contains": ["owl"]}]
    for suite in (FavouriteSuite(), FavouriteSuite(prefix=True), ChoiceSuite(), StoriesSuite(), AuthorSuite()):
        results = suite.score(["owl", "fox"], logprobs, told)
        for form in suite.METRICS:
            assert math.isfinite(results[form]["owl"])
