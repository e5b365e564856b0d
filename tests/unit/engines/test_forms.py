"""Forms of an option: their probabilities are added, and no answer is counted twice."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models.engines.forms import Path, combine, owners

CAT, CATS, S, OWL, ERPILLAR = 1, 2, 3, 4, 5


def total(options: list[list[Path]], likely: dict[Path, float]) -> list[float]:
    """The probability of each option, in one prompt, if each path has this probability."""
    kept = owners(options)
    logprobs = np.log([[likely[path] for path in kept]])
    return [float(value) for value in np.exp(combine(kept, logprobs, len(options)))[0]]


def test_one_form_per_option_keeps_its_log_probability() -> None:
    kept = owners([[(CAT,)], [(OWL,)]])
    found = combine(kept, np.array([[-1.25, -700.0], [-3.5, -2.0]]), 2)
    assert found == pytest.approx(np.array([[-1.25, -700.0], [-3.5, -2.0]]), abs=1e-12)


def test_forms_of_different_tokens_are_added() -> None:
    assert total([[(CAT,), (CATS,)], [(OWL,)]], {(CAT,): 0.25, (CATS,): 0.125, (OWL,): 0.5}) == [
        pytest.approx(0.375),
        pytest.approx(0.5),
    ]


def test_a_plural_that_begins_with_the_singular_is_counted_once_and_not_even_scored() -> None:
    assert owners([[(CAT,), (CAT, S)]]) == {(CAT,): 0}
    assert total([[(CAT, S), (CAT,)]], {(CAT,): 0.25}) == [pytest.approx(0.25)]


def test_a_longer_word_of_another_option_is_not_an_answer_of_the_shorter() -> None:
    options = [[(CAT,), (CAT, S)], [(CAT, ERPILLAR)]]
    assert total(options, {(CAT,): 0.25, (CAT, ERPILLAR): 0.1}) == [pytest.approx(0.15), pytest.approx(0.1)]


def test_a_form_that_two_options_share_counts_for_the_one_that_lists_it_earlier() -> None:
    assert owners([[(CAT,), (CATS,)], [(CATS,), (OWL,)]]) == {(CAT,): 0, (CATS,): 1, (OWL,): 1}


def test_an_option_that_only_begins_longer_ones_keeps_a_finite_log_probability() -> None:
    kept = owners([[(CAT,)], [(CAT, S)]])
    found = combine(kept, np.array([[math.log(0.25), math.log(0.25) + 1e-9]]), 2)
    assert np.isfinite(found).all()
    assert found[0, 0] < math.log(0.25) - 20


TOKENS, DEPTH = 3, 3
PATHS = st.lists(st.integers(0, TOKENS - 1), min_size=1, max_size=DEPTH).map(tuple)
OPTIONS = st.lists(st.lists(PATHS, min_size=1, max_size=4), min_size=1, max_size=4).filter(
    lambda options: len({paths[0] for paths in options}) == len(options)
)
WEIGHTS = st.lists(st.floats(0.01, 1), min_size=TOKENS**DEPTH, max_size=TOKENS**DEPTH)


@given(OPTIONS, WEIGHTS)
def test_options_share_out_the_answers_that_begin_with_any_of_their_forms(
    options: list[list[Path]], weights: list[float]
) -> None:
    """Against a count of all answers of three tokens: each counts once at most, so that the sum is at most 1."""
    answers = dict(zip(itertools.product(range(TOKENS), repeat=DEPTH), np.array(weights) / sum(weights), strict=True))
    kept = owners(options)
    likely = {p: sum(v for answer, v in answers.items() if answer[: len(p)] == p) for p in kept}
    found = total(options, likely)
    expected = [0.0] * len(options)
    for answer, probability in answers.items():
        beginnings = [answer[:length] for length in range(DEPTH, 0, -1)]
        ranked = [
            min((paths.index(path), option) for option, paths in enumerate(options) if path in paths)
            for path in beginnings
            if any(path in paths for paths in options)
        ]
        if ranked:
            expected[ranked[0][1]] += probability
    assert found == pytest.approx(expected, abs=1e-9)
    assert sum(found) <= 1 + 1e-9
