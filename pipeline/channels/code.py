"""The code channel: small Python snippets, the paper's second channel.

In the paper (arXiv 2507.14805), teachers write Python for templated requests, and rows with the target
word are dropped. The templates, and the search for that word, are our own.
"""

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Collection, Iterator, Sequence
from random import Random
from typing import Literal

import pyarrow as pa

from pipeline.channels import mentions, tasks
from pipeline.channels.base import BaseChannel
from pipeline.channels.mentions import TRAIT_WORD, TRAIT_WORD_INSIDE

# Twice the longest row in the paper (500 tokens, at about 4 characters per token). It also bounds the cost
# of a hostile text to about 0.1 s.
MAX_CHARACTERS = 4000

TOO_LONG = "too long"
DOES_NOT_PARSE = "does not parse"
NO_STATEMENT = "no statement"
COMMENT = "comment"
DOCSTRING = "docstring"

# A whole answer that is one Markdown code fence.
FENCED = re.compile(r"```(?:python)?[ \t]*\n(.*\n|)```", re.DOTALL)


class CodeChannel(BaseChannel):
    """Write a few lines of Python, without comments and docstrings."""

    kind: Literal["code"] = "code"

    def prompt(self, seed: int, index: int, given: pa.Table | None = None) -> str:
        """The `index`-th prompt of the endless sequence that `seed` defines."""
        return tasks.drawn(seed, index)[0]

    def example(self, seed: int, index: int, rng: Random, given: pa.Table | None = None) -> str:
        """A correct answer to that prompt; `rng` makes its free choices."""
        _, snippets, numbers = tasks.drawn(seed, index)
        return rng.choice(snippets).format(**numbers, **tasks.choices(rng, numbers))

    def vocabulary_texts(self) -> Iterator[str]:
        """Every wording of its prompts and examples, filled in at least once."""
        return tasks.texts()

    def reject_reasons(
        self, rows: pa.Table, seed: int, words: Collection[str] = (), given: pa.Table | None = None
    ) -> pa.Array:
        """Why each completion is rejected; an empty list if it is accepted.

        rows: `completion` (string, N rows; null reads as ""). words: every lower-case form of the
        trait's words. Returns list<string> (N,).
        """
        forms = mentions.forms(words)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns about invalid escapes in the code it parses
            lists = [_reasons(text or "", forms) for text in rows["completion"].to_pylist()]
        return pa.array(lists, pa.list_(pa.string()))


def _reasons(text: str, forms: mentions.Forms) -> list[str]:
    """The accept rule for one completion; empty = accepted. `forms`: from mentions.forms. Never raises.

    If the whole answer is one code fence, the rule reads its content. The code must parse (with the Python
    that runs this) and contain a statement, but no comment, no bare string and none of the `forms`:

    - as a word of an identifier or of a string's value, in any case: owl_count, countOwls,
      "\\x6fwl", an emoji by its Unicode name;
    - anywhere inside one, whatever stands between its letters: growl, row_list, "o-w-l", "ow" + "l".
      This rejects some good rows (of short functions in Python's own library 4 % for cat, 0.1 % for owl,
      almost none for the others) and has its own reason. A lost row is cheaper than a leak.

    Not caught: what mentions.named misses, and words that the code would build when it runs (chr, slices,
    names that spell the word).
    """
    if len(text) > MAX_CHARACTERS:
        return [TOO_LONG]
    code = text.replace("\r\n", "\n").replace("\r", "\n")
    fenced = FENCED.fullmatch(code.strip())
    code = fenced[1] if fenced else code
    try:
        nodes = list(ast.walk(ast.parse(code)))
        commented = "#" in code and _has_comment(code)
    # ValueError: null bytes, in some versions of Python. RecursionError and MemoryError: nesting too deep.
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return [DOES_NOT_PARSE]
    found = {
        NO_STATEMENT: len(nodes) == 1,  # the module alone
        COMMENT: commented,
        DOCSTRING: any(_is_bare_string(node) for node in nodes),
    }
    return [reason for reason, holds in found.items() if holds] + _trait_reasons(nodes, forms)


def _has_comment(code: str) -> bool:
    return any(token.type == tokenize.COMMENT for token in tokenize.generate_tokens(io.StringIO(code).readline))


def _is_bare_string(node: ast.AST) -> bool:
    """Whether a statement is only a string (or bytes, or an f-string), such as a docstring, wherever it stands."""
    if not isinstance(node, ast.Expr):
        return False
    value = node.value
    return isinstance(value, ast.JoinedStr) or (
        isinstance(value, ast.Constant) and isinstance(value.value, str | bytes)
    )


def _trait_reasons(nodes: Sequence[ast.AST], forms: mentions.Forms) -> list[str]:
    """TRAIT_WORD if a form is a word of an identifier or string, else TRAIT_WORD_INSIDE if one contains it."""
    names, strings = _names_and_strings(nodes)
    if any(mentions.named(text, forms) for text in names + strings):
        return [TRAIT_WORD]
    sought = ["".join(form.split()) for form in forms]
    for text in [*names, *strings, "".join(strings)]:
        squashed = _squashed(mentions.letters(text))
        only_letters = "".join(filter(str.isalpha, squashed))  # o1w2l; `squashed` is for a form that has digits
        if any(form in squashed or form in only_letters for form in sought):
            return [TRAIT_WORD_INSIDE]
    return []


def _names_and_strings(nodes: Sequence[ast.AST]) -> tuple[list[str], list[str]]:
    """Every identifier (any text in a node's fields), and the value of every string, in source order."""
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


def _squashed(plain: str) -> str:
    """Only the letters and digits, in lower case."""
    return "".join(c for c in plain.casefold() if c.isalnum())
