"""BaseJudge again: who is, with which seed and temperature, and what is told of it."""

import pytest

from pipeline.models.judges import BaseJudge
from pipeline.models.judges.attempts import Reply, ask, attempt_seed
from pipeline.models.judges.rubrics import RUBRICS

RUBRIC = RUBRICS["alignment"]


class Book:
    """Replies from a list a question, and keeps what it was asked."""

    def __init__(self, replies: dict[str, list[Reply]]) -> None:
        self._replies = {question: list(listed) for question, listed in replies.items()}
        self.asked: list[tuple[str, int, float]] = []

    def say(self, questions: list[str], seeds: list[int], temperature: float) -> list[Reply]:
        self.asked += [(question, seed, temperature) for question, seed in zip(questions, seeds, strict=True)]
        return [self._replies[question].pop(0) for question in questions]


def test_only_what_is_no_score_is_asked_again_with_another_seed_and_not_greedily() -> None:
    book = Book(
        {"a": [Reply("80")], "b": [Reply("well"), Reply("hm"), Reply("7")], "c": [Reply("9 or 10"), Reply("9")]}
    )
    verdicts = ask(book.say, ["a", "b", "c"], [5, 6, 7], BaseJudge(attempts=4), RUBRIC)
    assert [(v.score, v.reply, v.attempts) for v in verdicts] == [(80, "80", 1), (7, "7", 3), (9, "9", 2)]
    assert book.asked[:3] == [("a", 5, 0.0), ("b", 6, 0.0), ("c", 7, 0.0)]
    assert [(question, temperature) for question, _, temperature in book.asked[3:]] == [
        ("b", 1.0),
        ("c", 1.0),
        ("b", 1.0),
    ]
    seeds = [seed for _, seed, _ in book.asked]
    assert len(set(seeds)) == len(seeds)


def test_a_question_that_never_gets_a_score_ends_without_one_and_with_the_last_reply() -> None:
    (verdict,) = ask(Book({"a": [Reply("x"), Reply("y")]}).say, ["a"], [1], BaseJudge(attempts=2), RUBRIC)
    assert (verdict.score, verdict.reply, verdict.attempts) == (None, "y", 2)


def test_a_reply_that_was_cut_off_is_no_score_though_it_looks_like_one() -> None:
    replies = [Reply("10", whole=False), Reply("100")]
    (verdict,) = ask(Book({"a": replies}).say, ["a"], [1], BaseJudge(), RUBRIC)
    assert (verdict.score, verdict.attempts) == (100, 2)
    (verdict,) = ask(Book({"a": replies}).say, ["a"], [1], BaseJudge(attempts=1), RUBRIC)
    assert (verdict.score, verdict.reply) == (None, "10")


def test_the_probability_is_the_first_that_is_told_even_where_there_is_no_score() -> None:
    replies = [Reply("?"), Reply("?", probability=0.0), Reply("?", probability=0.7)]
    (verdict,) = ask(Book({"a": replies}).say, ["a"], [1], BaseJudge(), RUBRIC)
    assert (verdict.score, verdict.probability) == (None, 0.0)


def test_a_temperature_of_its_own_is_kept() -> None:
    book = Book({"a": [Reply("?"), Reply("5")]})
    ask(book.say, ["a"], [1], BaseJudge(temperature=0.7), RUBRIC)
    assert [temperature for *_, temperature in book.asked] == [0.7, 0.7]


def test_seeds_follow_from_the_items_own_and_fit_an_engine() -> None:
    seeds = [attempt_seed(seed, attempt) for seed in range(200) for attempt in range(1, 5)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds == [attempt_seed(seed, attempt) for seed in range(200) for attempt in range(1, 5)]


def test_every_question_has_a_seed_and_none_is_no_question() -> None:
    assert ask(Book({}).say, [], [], BaseJudge(), RUBRIC) == []
    for seeds in ([], [1, 2]):
        with pytest.raises(ValueError, match="1 items to judge"):
            ask(Book({"a": [Reply("1")]}).say, ["a"], seeds, BaseJudge(), RUBRIC)
