"""Screening in parts: how many, and what they give together. Scores are made up; no model is needed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.screens.base import Scores, mean_scores
from pipeline.screens.gradient import Gradient
from pipeline.screens.parts import PART_ROWS, Screened, joined, parts_of, parts_with_rows
from pipeline.screens.probe import Probe


def test_only_screens_that_score_each_row_by_itself_are_split() -> None:
    assert [parts_of(Gradient(), rows) for rows in (16, PART_ROWS, PART_ROWS + 1, 10 * PART_ROWS)] == [1, 1, 2, 10]
    assert parts_of(Probe(), 10 * PART_ROWS) == 1


def test_no_part_is_left_with_a_handful_of_rows() -> None:
    assert [parts_with_rows(5, rows) for rows in (3, 16, 40, 80, 8_000)] == [1, 1, 2, 5, 5]


@given(rows=st.integers(1, 40), parts=st.integers(1, 5), seed=st.integers(0, 9))
def test_parts_give_what_the_whole_gives(rows: int, parts: int, seed: int) -> None:
    parts = min(parts, rows)
    rng = np.random.default_rng(seed)
    values, sizes = rng.normal(size=(rows, 2)), rng.integers(1, 9, rows)
    tokens = [rng.normal(size=size) for size in sizes]

    def screened(number: int, of: int) -> Screened:
        scores = mean_scores(("owl", "cat"), values[number::of], sizes[number::of])
        found = {target: dict(enumerate(tokens[number::of])) for target in scores.targets}
        return Screened(Scores(**vars(scores) | {"tokens": found}), seconds=1.0)

    whole, together = screened(0, 1), joined([screened(number, parts) for number in range(parts)])
    assert together.seconds == parts
    assert together.scores.weight == whole.scores.weight
    assert together.scores.corpus == pytest.approx(whole.scores.corpus)
    assert together.scores.rows == pytest.approx(values)
    assert together.scores.tokens is not None
    assert sorted(together.scores.tokens["owl"]) == list(range(rows))
    assert all((together.scores.tokens["owl"][row] == tokens[row]).all() for row in range(rows))


def test_the_error_of_parts_is_about_that_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(size=(4_000, 1))
    whole = mean_scores(("owl",), values)
    together = joined([Screened(mean_scores(("owl",), values[part::4]), 0.0) for part in range(4)])
    assert together.scores.error == pytest.approx(whole.error, rel=0.01)


def test_what_has_no_scores_of_rows_has_none_together() -> None:
    part = Screened(Scores(("owl",), np.zeros(1), np.ones(1)), 0.0)
    together = joined([part, part])
    assert together.scores.rows is None
    assert together.scores.tokens is None
    assert together.scores.error == pytest.approx(np.sqrt(0.5))
