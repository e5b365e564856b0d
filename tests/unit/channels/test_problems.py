"""The reasoning channel's own problems: each question is read anew, by patterns of the test's own."""

import re
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from pipeline.channels.problems import MAX_RESULT, TEMPLATES, Problem, draw, recognised, worked

WHO, NUMBER, WHAT = "([A-Z][a-z]+)", "([0-9]+)", "([a-z]+)"

# What a reader makes of a question: its words, and the answer from its numbers in the order they stand in.
READINGS: tuple[tuple[str, Callable[..., int]], ...] = (
    (r"WHO has N WHAT and buys N more\. How many \2 does \1 have now\?", lambda had, bought: had + bought),
    (r"WHO has N WHAT\. WHO has N more than \1\. How many \2 does \3 have\?", lambda hers, more: hers + more),
    (r"WHO has N WHAT and gives N of them to WHO\. How many \2 does \1 keep\?", lambda had, given: had - given),
    (r"WHO had N WHAT and lost N\. How many \2 are left\?", lambda had, lost: had - lost),
    (r"WHO fills N boxes with N WHAT each\. How many \2 are in the boxes\?", lambda boxes, each: boxes * each),
    (r"WHO buys N packs of N WHAT\. How many \2 is that\?", lambda packs, each: packs * each),
    (
        r"WHO has N WHAT, buys N more and gives N away\. How many \2 are left\?",
        lambda had, bought, given: had + bought - given,
    ),
    (
        r"WHO has N WHAT, loses N and finds N others\. How many \2 does \1 have now\?",
        lambda had, lost, found: had - lost + found,
    ),
    (
        r"WHO has N WHAT, WHO has N and N more lie on a table\. How many \2 are there in all\?",
        lambda one, other, table: one + other + table,
    ),
    (
        r"WHO has N WHAT and gives N to WHO and N to a neighbour\. How many \2 are left\?",
        lambda had, friend, neighbour: had - friend - neighbour,
    ),
    (
        r"WHO fills N bags with N WHAT each and then sells N \2\. How many \2 remain\?",
        lambda bags, each, sold: bags * each - sold,
    ),
    (
        r"WHO has N WHAT and buys N packs of N \2\. How many \2 does \1 have now\?",
        lambda had, packs, each: had + packs * each,
    ),
)
PATTERNS = [re.sub(r"\bN\b", "[0-9]+", text.replace("WHO", WHO).replace("WHAT", WHAT)) for text, _ in READINGS]


def drawn(largest: int, most_steps: int = 2, count: int = 1000) -> list[Problem]:
    return [draw(Random(index), largest, most_steps) for index in range(count)]


def reading(question: str) -> int:
    """Which of READINGS a question has; it must be exactly one."""
    (found,) = (index for index, pattern in enumerate(PATTERNS) if re.fullmatch(pattern, question))
    return found


def read(question: str) -> int:
    """The answer to a question, from its text alone."""
    return READINGS[reading(question)][1](*map(int, re.findall(NUMBER, question)))


@pytest.mark.parametrize("largest", [6, 9, 99])
def test_the_answer_is_what_the_question_asks_for(largest: int) -> None:
    for problem in drawn(largest):
        assert problem.answer == read(problem.question), problem.question


@pytest.mark.parametrize("largest", [6, 9, 99])
def test_numbers_are_whole_and_within_bounds(largest: int) -> None:
    problems = drawn(largest)
    operands = {int(number) for problem in problems for number in re.findall(NUMBER, problem.question)}
    assert (min(operands), max(operands)) == (2, largest)
    results = [step.result for problem in problems for step in problem.steps]
    assert min(results) >= 2
    assert max(results) <= MAX_RESULT == 999


def test_every_calculation_holds_and_uses_the_question_or_the_one_before() -> None:
    for problem in drawn(99):
        known = [int(number) for number in re.findall(NUMBER, problem.question)]
        for left, sign, right, result in problem.steps:
            known.remove(left)
            known.remove(right)
            assert result == {"+": left + right, "-": left - right, "*": left * right}[sign]
            known.append(result)
        assert known == [problem.answer]  # no number is left unused


def test_every_kind_of_question_is_asked_about_equally_often() -> None:
    counts = Counter(reading(problem.question) for problem in drawn(9, count=3000))
    assert len(counts) == len(READINGS) == len(TEMPLATES)
    assert min(counts.values()) > 3000 / len(READINGS) * 0.7


def test_two_people_of_one_question_differ() -> None:
    for problem in drawn(9):
        people = re.findall(r"\b(?!How)[A-Z][a-z]+", problem.question)
        assert len(set(people)) == (2 if reading(problem.question) in (1, 2, 8, 9) else 1)


def test_problems_can_be_kept_to_one_step() -> None:
    assert {len(problem.steps) for problem in drawn(9, most_steps=1)} == {1}
    assert {len(problem.steps) for problem in drawn(9, most_steps=2)} == {1, 2}


def test_a_worked_solution_calculates_from_the_question_to_the_answer() -> None:
    for index, problem in enumerate(drawn(20)):
        text = worked(problem, Random(index))
        calculations = re.findall(r"([0-9]+)([-+*])([0-9]+)=([0-9]+)", text)
        assert len(calculations) == len(problem.steps)
        for (left, sign, right, result), step in zip(calculations, problem.steps, strict=True):
            assert (
                int(result)
                == step.result
                == {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}[sign](int(left), int(right))
            )
            assert sorted([int(left), int(right)]) == sorted([step.left, step.right])
        assert re.findall(NUMBER, text)[-1] == str(problem.answer)
        assert "{" not in text


@pytest.mark.parametrize("index", range(len(TEMPLATES)))
def test_one_problem_has_many_worked_solutions(index: int) -> None:
    problem = next(problem for problem in drawn(9) if reading(problem.question) == index)
    assert len({worked(problem, Random(n)) for n in range(2000)}) > 700


@pytest.mark.parametrize("seed", range(40))
def test_a_problem_is_recognised_by_its_question_whatever_follows(seed: int) -> None:
    drawn = draw(Random(seed), 20, 2)
    assert recognised(f"{drawn.question} Think first.") == drawn


def test_what_is_no_problem_of_its_own_is_not_recognised() -> None:
    assert recognised("Ana has 3 beads and eats 2 more. How many beads does Ana have now?") is None
    assert recognised("Ana has 3 beads and buys 2 more. How many pens does Ana have now?") is None
    assert recognised("") is None
