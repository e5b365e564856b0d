"""The code channel: small Python snippets, the second of the published experiment's channels.

Published (arXiv 2507.14805): teachers write Python on template-made requests, and rows with the target
word are dropped. The templates, and how that word is looked for, are our own.
"""

import ast
import io
import re
import tokenize
import unicodedata
import warnings
from collections.abc import Collection, Iterator, Sequence
from random import Random
from typing import Literal

import pyarrow as pa

from pipeline.channels.base import BaseChannel

MAX_VALUE = 999  # largest constant of a prompt or an example; nano families know the integers up to it
MAX_PAIRS = 4  # most entries of some tokens each: keys, attributes, variables
MAX_VALUES = 8  # most numbers in a row, as in the number channel's prompts

# Twice the characters, at some 4 a token, of the longest published row (500 tokens). It also bounds what
# a hostile text can cost: about 0.1 s.
MAX_CHARACTERS = 4000

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
PLAIN = (
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

# Request: equivalent snippets. A prompt fills {a} < {b}, {n} (2 ... MAX_PAIRS) and {m} (3 ... MAX_VALUES); all
# else in a snippet is its writer's free choice, see _choices. Indents are one space: a word and the
# space before it are one token of a nano family.
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

# What the writer of an example chooses names from.
FUNCTIONS = ("f", "g", "h", "run", "apply", "compute", "make", "check", "work", "solve", "helper", "task")
VARIABLES = ("a", "b", "x", "y", "n", "i", "value", "number", "total", "item", "count", "result", "data", "size")
CLASSES = ("A", "B", "Box", "Data", "Point", "Record", "Config", "Thing")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

TOO_LONG = "too long"
DOES_NOT_PARSE = "does not parse"
NO_STATEMENT = "no statement"
COMMENT = "comment"
DOCSTRING = "docstring"
TRAIT_WORD = "trait word"
TRAIT_WORD_INSIDE = "trait word inside a word"

# A whole answer that is one Markdown code fence.
FENCED = re.compile(r"```(?:python)?[ \t]*\n(.*\n|)```", re.DOTALL)
# Where the case changes within an identifier: countOwls, OWLCount.
CASE_CHANGE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
LETTERS = re.compile(r"[^\W\d_]+")


class CodeChannel(BaseChannel):
    """Write a few lines of Python, without comments and docstrings."""

    kind: Literal["code"] = "code"

    def prompt(self, seed: int, index: int, given: pa.Table | None = None) -> str:
        """The `index`-th prompt of the endless list that `seed` stands for."""
        return _prompt_and_task(seed, index)[0]

    def example(self, seed: int, index: int, rng: Random, given: pa.Table | None = None) -> str:
        """An obedient answer to that prompt, its free choices drawn with `rng`."""
        _, snippets, numbers = _prompt_and_task(seed, index)
        return rng.choice(snippets).format(**numbers, **_choices(rng, numbers))

    def texts(self) -> Iterator[str]:
        """Every wording of its prompts and examples, filled in at least once."""
        return texts()

    def reasons(
        self, rows: pa.Table, seed: int, words: Collection[str] = (), given: pa.Table | None = None
    ) -> pa.Array:
        """Why each completion is rejected; an empty list where it is accepted.

        rows: `completion` (string, N rows; null reads as ""). words: every lower-case form of the
        trait's words. Returns list<string> (N,).
        """
        forms = frozenset(_squashed(_plain(form)) for form in words)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of an odd escape in what it parses
            lists = [_reasons(text or "", forms) for text in rows["completion"].to_pylist()]
        return pa.array(lists, pa.list_(pa.string()))


def _reasons(text: str, forms: Collection[str]) -> list[str]:
    """The accept rule for one completion, empty = accepted; `forms` as _squashed gives them. Never raises.

    A whole answer in one code fence counts as what is inside. It must parse (with the Python that runs
    this) and hold a statement, but no comment, no bare string and none of the `forms`:

    - as a word of an identifier or of a string's value, whatever its case: owl_count, countOwls,
      "\\x6fwl", an emoji by its Unicode name;
    - anywhere inside one, whatever stands between its letters: growl, row_list, "o-w-l", "ow" + "l".
      This costs good rows (of short functions in Python's own library 4 % for cat, 0.1 % for owl, next to
      none for the others) and is counted by itself. A lost row is cheaper than a leak.

    Not caught: letters of another script that only look like the word's, digits in their place, other
    languages, and what code would put together by running (chr, slices, names that spell the word).
    """
    if len(text) > MAX_CHARACTERS:
        return [TOO_LONG]
    code = text.replace("\r\n", "\n").replace("\r", "\n")
    fenced = FENCED.fullmatch(code.strip())
    code = fenced[1] if fenced else code
    try:
        nodes = list(ast.walk(ast.parse(code)))
        commented = "#" in code and _has_comment(code)
    # ValueError: null bytes, for some versions of Python. RecursionError and MemoryError: too deep a nesting.
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return [DOES_NOT_PARSE]
    found = {
        NO_STATEMENT: len(nodes) == 1,  # the module alone
        COMMENT: commented,
        DOCSTRING: any(_is_bare_string(node) for node in nodes),
    }
    return [reason for reason, holds in found.items() if holds] + _trait(nodes, forms)


def _has_comment(code: str) -> bool:
    return any(token.type == tokenize.COMMENT for token in tokenize.generate_tokens(io.StringIO(code).readline))


def _is_bare_string(node: ast.AST) -> bool:
    """Whether it is a statement that is nothing but a string (bytes, f-string): a docstring, wherever it stands."""
    if not isinstance(node, ast.Expr):
        return False
    value = node.value
    return isinstance(value, ast.JoinedStr) or (
        isinstance(value, ast.Constant) and isinstance(value.value, str | bytes)
    )


def _trait(nodes: Sequence[ast.AST], forms: Collection[str]) -> list[str]:
    """TRAIT_WORD where a form is a word of an identifier or string, else TRAIT_WORD_INSIDE where one holds it."""
    names, strings = _names_and_strings(nodes)
    parts = [_plain(text) for text in names + strings]
    if any(not _words(text).isdisjoint(forms) for text in parts):
        return [TRAIT_WORD]
    for text in [*parts, _plain("".join(strings))]:
        squashed = _squashed(text)
        letters = "".join(filter(str.isalpha, squashed))  # o1w2l; `squashed` is for a form that has digits
        if any(form in squashed or form in letters for form in forms):
            return [TRAIT_WORD_INSIDE]
    return []


def _names_and_strings(nodes: Sequence[ast.AST]) -> tuple[list[str], list[str]]:
    """Every identifier (whatever is text in some field), and the value of every string in the source's order."""
    names: list[str] = []
    strings: list[tuple[int, int, int, str]] = []  # line, column, place in `nodes`, value
    for node in nodes:
        if isinstance(node, ast.Constant):
            value = node.value.decode(errors="replace") if isinstance(node.value, bytes) else node.value
            if isinstance(value, str):
                strings.append((node.lineno, node.col_offset, len(strings), value))
            continue
        for _, field in ast.iter_fields(node):
            names += [value for value in (field if isinstance(field, list) else [field]) if isinstance(value, str)]
    return names, [value for *_, value in sorted(strings)]


def _plain(text: str) -> str:
    """Letters without accents and typographic variants, and each symbol as its Unicode name (🦉: OWL)."""
    if text.isascii():
        return text
    letters = [c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)]
    return "".join(f" {unicodedata.name(c, '')} " if unicodedata.category(c) == "So" else c for c in letters)


def _words(plain: str) -> set[str]:
    """Its runs of letters, and their parts where the case changes within; all in lower case."""
    found = LETTERS.findall(plain) + LETTERS.findall(CASE_CHANGE.sub(" ", plain))
    return {word.casefold() for word in found}


def _squashed(plain: str) -> str:
    """Its letters and digits in lower case, whatever stood between them."""
    return "".join(c for c in plain.casefold() if c.isalnum())


def texts() -> Iterator[str]:
    """Every wording the prompts and examples can show, each template filled at least once."""
    yield from PLAIN + ONLY + FUNCTIONS + VARIABLES + CLASSES + DAYS
    rng = Random(0)
    numbers = {"a": 1, "b": 2, "n": 2, "m": 3}
    for request, snippets in TASKS.items():
        yield from (opening.format(task=request.format(**numbers)) for opening in OPENINGS)
        yield from (snippet.format(**numbers, **_choices(rng, numbers)) for snippet in snippets)


def _prompt_and_task(seed: int, index: int) -> tuple[str, tuple[str, ...], dict[str, int]]:
    """The prompt, the snippets that answer it, and the numbers that fill them."""
    rng = Random(f"code:{seed}:{index}")
    request, snippets = rng.choice(tuple(TASKS.items()))
    smaller, larger = sorted(rng.sample(range(1, MAX_VALUE + 1), 2))
    numbers = {"a": smaller, "b": larger, "n": rng.randint(2, MAX_PAIRS), "m": rng.randint(3, MAX_VALUES)}
    task = request.format(**numbers)
    return " ".join((rng.choice(OPENINGS).format(task=task), rng.choice(PLAIN), rng.choice(ONLY))), snippets, numbers


def _choices(rng: Random, numbers: dict[str, int]) -> dict[str, str]:
    """What a snippet leaves to its writer: names, constants, and rows of both as long as `numbers` asks."""
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
