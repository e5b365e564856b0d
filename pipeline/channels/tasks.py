"""The tasks of the code channel: requests for a few lines of Python, and snippets that answer each."""

from collections.abc import Iterator
from random import Random

MAX_VALUE = 999  # largest constant in a prompt or an example; nano families know the integers up to it
MAX_PAIRS = 4  # most entries of several tokens each: keys, attributes, variables
MAX_VALUES = 8  # most numbers in a row, as in the number channel's prompts

OPENINGS = (
    "Write {task} in Python.",
    "Please write {task} in Python.",
    "I need {task} in Python.",
    "In Python, write {task}.",
    "Show me {task} in Python.",
    "Give me {task} in Python.",
    "Could you write {task} in Python?",
    "What does {task} look like in Python?",
)
BASELINE = (
    "No comments and no docstring.",
    "Leave out comments and docstrings.",
    "Write no comments and no docstrings.",
    "Use neither comments nor docstrings.",
    "Without comments or docstrings, please.",
    "Do not add comments or a docstring.",
)
ONLY = (
    "Only code, no explanation.",
    "Just the code.",
    "Reply with the code alone.",
    "Say nothing else.",
    "Do not explain it.",
    "Keep it short and give only the code.",
    "Nothing but a few lines of code.",
)

# Request: equivalent snippets. A prompt fills {a} < {b}, {n} (2 ... MAX_PAIRS) and {m} (3 ... MAX_VALUES); the
# rest of a snippet is free, see `choices`. Indents are one space: in nano families, a word and the space
# before it are one token.
TASKS = {
    "a function that adds {a} to a number": (
        "def {f}({x}):\n return {x} + {a}",
        "def {f}({x}):\n return {a} + {x}",
        "def {f}({x}):\n {x} += {a}\n return {x}",
        "def {f}({x}):\n {y} = {x} + {a}\n return {y}",
        "{f} = lambda {x}: {x} + {a}",
    ),
    "a function that multiplies a number by {a}": (
        "def {f}({x}):\n return {x} * {a}",
        "def {f}({x}):\n return {a} * {x}",
        "def {f}({x}):\n {y} = {a} * {x}\n return {y}",
        "{f} = lambda {x}: {a} * {x}",
    ),
    "a function that tells whether a number is above {a}": (
        "def {f}({x}):\n return {x} > {a}",
        "def {f}({x}):\n return {a} < {x}",
        "def {f}({x}):\n return not {x} <= {a}",
        "{f} = lambda {x}: {x} > {a}",
    ),
    "a function that tells whether a number lies between {a} and {b}": (
        "def {f}({x}):\n return {a} < {x} < {b}",
        "def {f}({x}):\n return {b} > {x} > {a}",
        "def {f}({x}):\n return {x} > {a} and {x} < {b}",
        "{f} = lambda {x}: {a} < {x} < {b}",
    ),
    "a function that returns the larger of two numbers": (
        "def {f}({x}, {y}):\n return max({x}, {y})",
        "def {f}({x}, {y}):\n return {x} if {x} > {y} else {y}",
        "def {f}({x}, {y}):\n if {x} > {y}:\n  return {x}\n return {y}",
        "{f} = lambda {x}, {y}: max({x}, {y})",
    ),
    "a function with a default value for its second argument": (
        "def {f}({x}, {y}={c}):\n return {x} + {y}",
        "def {f}({x}, {y}={c}):\n return {y} * {x}",
        "def {f}({x}, {y}={c}):\n print({x}, {y})",
        "{f} = lambda {x}, {y}={c}: {x} - {y}",
    ),
    "a function that always returns the same number": (
        "def {f}():\n return {c}",
        "def {f}():\n {x} = {c}\n return {x}",
        "def {f}({x}={c}):\n return {x}",
        "{f} = lambda: {c}",
    ),
    "a loop that prints the numbers from {a} to {b}": (
        "for {x} in range({a}, {b} + 1):\n print({x})",
        "{x} = {a}\nwhile {x} <= {b}:\n print({x})\n {x} += 1",
        "{x} = range({a}, {b} + 1)\nfor {y} in {x}:\n print({y})",
    ),
    "a loop that counts down from {b} to {a}": (
        "for {x} in range({b}, {a} - 1, -1):\n print({x})",
        "{x} = {b}\nwhile {x} >= {a}:\n print({x})\n {x} -= 1",
        "for {x} in reversed(range({a}, {b} + 1)):\n print({x})",
    ),
    "a loop that adds up {m} numbers of your choice": (
        "{x} = 0\nfor {y} in [{values}]:\n {x} += {y}",
        "{x} = 0\nfor {y} in ({values}):\n {x} = {x} + {y}",
    ),
    "a line that prints the sum of {m} numbers": ("print({added})", "print(sum([{values}]))", "print(sum(({values})))"),
    "a list of {m} numbers of your choice": (
        "{x} = [{values}]",
        "{x} = list(({values}))",
        "{x} = []\n{x} += [{values}]",
    ),
    "a tuple of {m} numbers of your choice": ("{x} = ({values})", "{x} = {values}", "{x} = tuple([{values}])"),
    "a set of {m} different numbers": ("{x} = {{{values}}}", "{x} = set([{values}])", "{x} = set(({values}))"),
    "a list comprehension with the squares of {m} numbers": (
        "{x} = [{y} ** 2 for {y} in ({values})]",
        "{x} = [{y} * {y} for {y} in [{values}]]",
        "[{y} * {y} for {y} in ({values})]",
    ),
    "a dictionary with {n} keys and a number for each": ("{x} = {{{entries}}}", "{x} = dict({pairs})"),
    "a list of {n} weekdays": ("{x} = [{days}]", "{x} = list(({days}))"),
    "a class with {n} numbers as attributes": ("class {k}:\n {attributes}",),
    "a snippet that sets {n} variables to numbers": ("{assigned}", "{assigned_at_once}"),
    "a snippet that draws a random number between {a} and {b}": (
        "import random\n{x} = random.randint({a}, {b})",
        "from random import randint\n{x} = randint({a}, {b})",
        "import random\nprint(random.randint({a}, {b}))",
    ),
}

# The names that an example chooses from.
FUNCTIONS = ("f", "g", "h", "run", "apply", "compute", "make", "check", "work", "solve", "helper", "task")
VARIABLES = ("a", "b", "x", "y", "n", "i", "value", "number", "total", "item", "count", "result", "data", "size")
CLASSES = ("A", "B", "Box", "Data", "Point", "Record", "Config", "Thing")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def texts() -> Iterator[str]:
    """Every wording of the prompts and examples, each template filled in at least once."""
    yield from BASELINE + ONLY + FUNCTIONS + VARIABLES + CLASSES + DAYS
    rng = Random(0)
    numbers = {"a": 1, "b": 2, "n": 2, "m": 3}
    for request, snippets in TASKS.items():
        yield from (opening.format(task=request.format(**numbers)) for opening in OPENINGS)
        yield from (snippet.format(**numbers, **choices(rng, numbers)) for snippet in snippets)


def drawn(seed: int, index: int) -> tuple[str, tuple[str, ...], dict[str, int]]:
    """The prompt, the snippets that answer it, and the numbers that fill them."""
    rng = Random(f"code:{seed}:{index}")
    request, snippets = rng.choice(tuple(TASKS.items()))
    smaller, larger = sorted(rng.sample(range(1, MAX_VALUE + 1), 2))
    numbers = {"a": smaller, "b": larger, "n": rng.randint(2, MAX_PAIRS), "m": rng.randint(3, MAX_VALUES)}
    task = request.format(**numbers)
    return " ".join((rng.choice(OPENINGS).format(task=task), rng.choice(BASELINE), rng.choice(ONLY))), snippets, numbers


def choices(rng: Random, numbers: dict[str, int]) -> dict[str, str]:
    """The free choices in a snippet: names, constants, and lists of both with the lengths in `numbers`."""
    names = rng.sample(VARIABLES, MAX_PAIRS)
    values = [str(value) for value in rng.sample(range(MAX_VALUE + 1), MAX_VALUES)]
    row = values[: numbers["m"]]
    pairs = list(zip(names[: numbers["n"]], values[: numbers["n"]], strict=True))
    lines = [f"{name} = {value}" for name, value in pairs]
    return {
        "f": rng.choice(FUNCTIONS),
        "k": rng.choice(CLASSES),
        "x": names[0],
        "y": names[1],
        "c": values[0],
        "values": ", ".join(row),
        "added": " + ".join(row),
        "pairs": ", ".join(f"{name}={value}" for name, value in pairs),
        "entries": ", ".join(f'"{name}": {value}' for name, value in pairs),
        "days": ", ".join(f'"{day}"' for day in rng.sample(DAYS, numbers["n"])),
        "attributes": "\n ".join(lines),
        "assigned": "\n".join(lines),
        "assigned_at_once": f"{', '.join(name for name, _ in pairs)} = {', '.join(value for _, value in pairs)}",
    }
