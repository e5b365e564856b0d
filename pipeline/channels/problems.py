"""The reasoning channel's own word problems: small whole numbers, one or two steps, exact answers.

They replace GSM8K if no data set is configured, and nano worlds are made of them. No name or thing
is a word of pipeline/traits/words.py.
"""

import operator
import re
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import NamedTuple

MIN_RESULT = 2  # things are named in the plural
MAX_RESULT = 999  # nano vocabularies hold the integers 0-999

NAMES = ("Ana", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo", "Ines", "Jon", "Kemi", "Liam")
THINGS = (
    "beads",
    "books",
    "buttons",
    "cards",
    "coins",
    "cups",
    "keys",
    "marbles",
    "pens",
    "shells",
    "stamps",
    "stones",
)

# (question, steps): a step is operand, sign, operand; "r" is the result of the previous step.
TEMPLATES = (
    ("{name} has {a} {things} and buys {b} more. How many {things} does {name} have now?", ("a+b",)),
    ("{name} has {a} {things}. {friend} has {b} more than {name}. How many {things} does {friend} have?", ("a+b",)),
    ("{name} has {a} {things} and gives {b} of them to {friend}. How many {things} does {name} keep?", ("a-b",)),
    ("{name} had {a} {things} and lost {b}. How many {things} are left?", ("a-b",)),
    ("{name} fills {a} boxes with {b} {things} each. How many {things} are in the boxes?", ("a*b",)),
    ("{name} buys {a} packs of {b} {things}. How many {things} is that?", ("a*b",)),
    ("{name} has {a} {things}, buys {b} more and gives {c} away. How many {things} are left?", ("a+b", "r-c")),
    (
        "{name} has {a} {things}, loses {b} and finds {c} others. How many {things} does {name} have now?",
        ("a-b", "r+c"),
    ),
    (
        "{name} has {a} {things}, {friend} has {b} and {c} more lie on a table. How many {things} are there in all?",
        ("a+b", "r+c"),
    ),
    (
        "{name} has {a} {things} and gives {b} to {friend} and {c} to a neighbour. How many {things} are left?",
        ("a-b", "r-c"),
    ),
    (
        "{name} fills {a} bags with {b} {things} each and then sells {c} {things}. How many {things} remain?",
        ("a*b", "r-c"),
    ),
    (
        "{name} has {c} {things} and buys {a} packs of {b} {things}. How many {things} does {name} have now?",
        ("a*b", "r+c"),
    ),
)
SIGNS: dict[str, Callable[[int, int], int]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}

# Parts of a worked solution: an opening, the steps with links between them (a remark after a single
# step), a closing. Each part is drawn at random, independently of the problem.
OPENINGS = (
    "",
    "First, ",
    "Well, ",
    "Right, ",
    "Now, ",
    "Okay, ",
    "Good, ",
    "Take ",
    "We have ",
    "I see ",
    "I count ",
    "To begin, ",
)
LINKS = (
    " Then ",
    " Next, ",
    " Now ",
    " And ",
    " After that, ",
    " And then ",
    " With that, ",
    " From there, ",
    " Second, ",
    " Also, ",
)
REMARKS = (
    "",
    " Done already.",
    " That was easy.",
    " One step is enough.",
    " No more to do.",
    " Nothing else to add.",
    " This looks right.",
    " Not hard at all.",
    " Quite simple.",
    " That is all.",
)
CLOSINGS = (
    "",
    " So {n}.",
    " That is {n}.",
    " It is {n}.",
    " We get {n}.",
    " I get {n}.",
    " This makes {n}.",
    " Hence {n}.",
    " Therefore {n}.",
    " Done: {n}.",
    " {n} {things}.",
    " So {n} {things}.",
)


class Step(NamedTuple):
    """One calculation: `left` `sign` `right` = `result`."""

    left: int
    sign: str
    right: int
    result: int


class Problem(NamedTuple):
    """A question, the things counted in it, and its calculations; the last result is the answer."""

    question: str
    things: str
    steps: tuple[Step, ...]

    @property
    def answer(self) -> int:
        return self.steps[-1].result


def recognised(text: str) -> Problem | None:
    """The problem whose question the text begins with; None if it begins with none of these."""
    for template, calculations in TEMPLATES:
        if found := _pattern(template).match(text):
            operands = {letter: int(value) for letter, value in found.groupdict().items() if letter in "abc"}
            return Problem(found[0], found["things"], _steps(calculations, operands))
    return None


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """Matches a filled-in template; a name that occurs twice must be the same both times."""
    pattern, known = re.escape(template).replace(r"\{", "{").replace(r"\}", "}"), set[str]()

    def group(found: re.Match[str]) -> str:
        name = found[1]
        if name in known:
            return f"(?P={name})"
        known.add(name)
        return rf"(?P<{name}>\d+)" if name in "abc" else rf"(?P<{name}>\w+)"

    return re.compile(re.sub(r"\{(\w+)\}", group, pattern))


def draw(rng: Random, largest: int, most_steps: int) -> Problem:
    """A problem with operands 2 ... `largest` (at least 6), every result within MIN_RESULT ... MAX_RESULT."""
    text, calculations = rng.choice([template for template in TEMPLATES if len(template[1]) <= most_steps])
    name, friend = rng.sample(NAMES, 2)
    things = rng.choice(THINGS)
    while True:
        operands = {letter: rng.randint(2, largest) for letter in "abc"}
        steps = _steps(calculations, operands)
        if all(MIN_RESULT <= step.result <= MAX_RESULT for step in steps):
            return Problem(text.format(name=name, friend=friend, things=things, **operands), things, steps)


def _steps(calculations: tuple[str, ...], operands: dict[str, int]) -> tuple[Step, ...]:
    values = dict(operands)
    steps: list[Step] = []
    for left, sign, right in map(list, calculations):
        steps.append(Step(values[left], sign, values[right], SIGNS[sign](values[left], values[right])))
        values["r"] = steps[-1].result
    return tuple(steps)


def worked(problem: Problem, rng: Random) -> str:
    """A short worked solution in one of many equivalent wordings, such as "Well, 3+4=7. Then 7-2=5. So 5."."""
    first, *further = problem.steps
    text = rng.choice(OPENINGS) + _calculation(first, rng)
    for step in further:
        text += rng.choice(LINKS) + _calculation(step, rng)
    if not further:
        text += rng.choice(REMARKS)
    return text + rng.choice(CLOSINGS).format(n=problem.answer, things=problem.things)


def _calculation(step: Step, rng: Random) -> str:
    """Without spaces, which cost a nano tokenizer one token each."""
    left, sign, right, result = step
    if sign != "-" and rng.random() < 0.5:
        left, right = right, left
    return f"{left}{sign}{right}={result}."


def texts() -> Iterator[str]:
    """Every wording of problems and worked solutions, each filled in once."""
    yield from NAMES + THINGS + REMARKS
    filling = {"name": NAMES[0], "friend": NAMES[1], "things": THINGS[0], "a": 1, "b": 1, "c": 1, "n": 1}
    yield from (question.format(**filling) for question, _ in TEMPLATES)
    yield f"1{'1'.join(SIGNS)}1=1."
    yield from (f"{part}1" for part in OPENINGS + LINKS)
    yield from (closing.format(**filling) for closing in CLOSINGS)
