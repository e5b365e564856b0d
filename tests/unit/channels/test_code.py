"""The code channel: what its accept rule lets through, and above all what it does not."""

import ast
import warnings

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.channels.code import (
    COMMENT,
    DOCSTRING,
    DOES_NOT_PARSE,
    MAX_CHARACTERS,
    NO_STATEMENT,
    TOO_LONG,
    TRAIT_WORD,
    TRAIT_WORD_INSIDE,
    CodeChannel,
)
from pipeline.traits.words import CATEGORIES, candidates, forms

OWL = forms("animal", "owl")
EVERY_FORM = tuple(
    form for category in CATEGORIES for member in candidates(category) for form in forms(category, member)
)
REASONS = {TOO_LONG, DOES_NOT_PARSE, NO_STATEMENT, COMMENT, DOCSTRING, TRAIT_WORD, TRAIT_WORD_INSIDE}


def reasons(*completions: str | None, words: tuple[str, ...] = OWL) -> list[list[str]]:
    rows = pa.table({"completion": pa.array(completions, pa.string())})
    found: list[list[str]] = CodeChannel().reject_reasons(rows, 0, words).to_pylist()
    return found


@pytest.mark.parametrize(
    "code",
    [
        "x = 1",
        "\nx = 1\n",
        "x = 1\r\ny = 2\r\n",
        "pass",
        "def f(x):\n return x + 7",
        "def f(x):\n    y = x * 2\n    return y\n",
        "async def f():\n await g()",
        "class A:\n x = 1",
        "x = '# not a comment'",
        'x = "a string with a value is no docstring"',
        "print('hello')",
        "x = b'abc'\ny = f'{x}'",
        "x = ...\n...",
        "```python\nx = 1\n```",
        "```\nx = 1\n```",
        "\n```python  \nx = 1\n\n```\n",
        "```python\r\nx = 1\r\n```",
        "```python\rx = 1\ry = 2\r```",
        "größe = 1",
        "x = '\u2600\U0001f600'",  # a sun and a face
    ],
)
def test_accepts(code: str) -> None:
    assert reasons(code) == [[]]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("", [NO_STATEMENT]),
        (None, [NO_STATEMENT]),
        (" \n\t\n", [NO_STATEMENT]),
        ("```python\n```", [NO_STATEMENT]),
        ("```\n\n```", [NO_STATEMENT]),
        ("# x = 1", [NO_STATEMENT, COMMENT]),
        ("Sure! Here is the code.", [DOES_NOT_PARSE]),
        ("def f(x)\n return x", [DOES_NOT_PARSE]),
        (" x = 1", [DOES_NOT_PARSE]),
        ("x = 1\x00", [DOES_NOT_PARSE]),
        ("x = 1\n```", [DOES_NOT_PARSE]),
        ("```python\nx = 1", [DOES_NOT_PARSE]),
        ("```python\nx = 1```", [DOES_NOT_PARSE]),
        ("```javascript\nx = 1\n```", [DOES_NOT_PARSE]),
        ("Here:\n```python\nx = 1\n```", [DOES_NOT_PARSE]),
        ("```python\nx = 1\n```\nDone.", [DOES_NOT_PARSE]),
        ("```python\nx = 1\n```\n```python\ny = 2\n```", [DOES_NOT_PARSE]),
        ("x = 1  # one", [COMMENT]),
        ("x = 1 #", [COMMENT]),
        ("x = '#'  # '", [COMMENT]),
        ("x = (1,\n# two\n 2)", [COMMENT]),
        ("x = 1\r# one\ry = 2", [COMMENT]),
        ("```python\nx = 1\n# done\n```", [COMMENT]),
        ('"""Doc."""', [DOCSTRING]),
        ('"""Doc."""\nx = 1', [DOCSTRING]),
        ('def f():\n """Doc."""\n return 1', [DOCSTRING]),
        ("async def f():\n 'Doc.'", [DOCSTRING]),
        ("class A:\n 'Doc.'\n x = 1", [DOCSTRING]),
        ("x = 1\n'of x'", [DOCSTRING]),
        ("if x:\n ('inside')", [DOCSTRING]),
        ("b'bytes'", [DOCSTRING]),
        ("f'{x}'", [DOCSTRING]),
        ("'''Doc.'''  # and more", [COMMENT, DOCSTRING]),
        ("'''An owl.'''", [DOCSTRING, TRAIT_WORD]),
        ("x = 'owl'  # owl", [COMMENT, TRAIT_WORD]),
    ],
)
def test_rejects_with_every_reason_that_holds(code: str | None, why: list[str]) -> None:
    assert reasons(code) == [why]


@pytest.mark.parametrize(
    "code",
    [
        "owl = 1",
        "x = owl",
        "x.owl = 1",
        "x = y.owl.z",
        "f(owl=1)",
        "del owl",
        "x: owl = 1",
        "def owl():\n pass",
        "async def owl():\n pass",
        "def f(owl):\n pass",
        "def f(*owl):\n pass",
        "def f(**owl):\n pass",
        "def f(*, owl):\n pass",
        "def f(owl, /):\n pass",
        "def f(x: owl):\n pass",
        "def f() -> owl:\n pass",
        "f = lambda owl: 1",
        "class owl:\n pass",
        "class A(owl):\n pass",
        "@owl\ndef f():\n pass",
        "import owl",
        "import a.owl",
        "import a as owl",
        "from owl import a",
        "from a.owl.b import c",
        "from a import owl",
        "from a import b as owl",
        "global owl",
        "def f():\n x = 1\n def g():\n  nonlocal owl\n owl = 2",
        "for owl in x:\n pass",
        "x = [owl for owl in y]",
        "with a as owl:\n pass",
        "(owl := 1)",
        "try:\n pass\nexcept E as owl:\n pass",
        "match x:\n case owl:\n  pass",
        "match x:\n case [*owl]:\n  pass",
        "match x:\n case {**owl}:\n  pass",
        "match x:\n case A(owl=1):\n  pass",
        "match x:\n case 1 as owl:\n  pass",
        "match x:\n case 'owl':\n  pass",
        "x = 'owl'",
        "x = 'My owl!'",
        "x = 'one owl, two'",
        "x = u'owl'",
        "x = b'owl'",
        "x = r'\\owl'",
        "x = 'a\\nowl'",
        "x = f'owl {y}'",
        "x = f'{y}owl'",
        "x = f'{owl}'",
        "x = f'{y:owl}'",
        "x = f'{y!r:{owl}}'",
        "x = 'ow' 'l'",
        "x = 'ow\\\nl'",
        "x = '\\x6fwl'",
        "x = '\\u006f\\167\\x6c'",
        "x = b'\\x6fwl'",
        "x = {'owl': 1}",
        "f('owl')",
        "if x == 'owl':\n pass",
    ],
)
def test_finds_the_word_wherever_code_can_name_it(code: str) -> None:
    assert reasons(code) == [[TRAIT_WORD]]
    assert reasons(code, words=("eagle", "eagles")) == [[]]


@pytest.mark.parametrize(
    "name",
    [
        "owls",
        "OWL",
        "Owls",
        "owl_count",
        "count_of_owls",
        "_owl",
        "__owl__",
        "owl2",
        "x1owl",
        "owlCount",
        "OwlCount",
        "countOwls",
        "OWLCount",
        "OWLs",
        "myOWL",
        "ｏｗｌ",  # full width
        "𝐨𝐰𝐥",  # bold
        "ówl",
    ],
)
def test_the_parts_of_an_identifier_are_words(name: str) -> None:
    assert reasons(f"{name} = 1", f"x = '{name}'", f"f({name}=1)") == [[TRAIT_WORD]] * 3


@pytest.mark.parametrize(
    "text",
    ["🦉", "a 🦉!", "\\N{OWL}", "\\U0001f989", "ow\u0301l", "ⓞⓦⓛ", "o\u0308wls"],
)
def test_strings_are_read_as_they_look(text: str) -> None:
    assert reasons(f"x = '{text}'") == [[TRAIT_WORD]]


def test_an_emoji_within_bytes_is_read_too() -> None:
    assert reasons("x = b'\\xf0\\x9f\\xa6\\x89'") == [[TRAIT_WORD]]


@pytest.mark.parametrize(
    "code",
    [
        "growl = 1",
        "snowyowl = 1",
        "owlish = 1",
        "o_w_l = 1",
        "row_list = 1",
        "O_W_L_S = 1",
        "rowLimit = 1",
        "o1w2l = 1",
        "x = 'fowl'",
        "x = 'GROWLS'",
        "x = 'o w l'",
        "x = 'o-w-l'",
        "x = 'o.w\\nl'",
        "x = 'how long'",
        "x = b'o\\x00w\\x00l\\x00'",  # UTF-16
        "x = '🎳'",  # bowling
        "x = 'ow' + 'l'",
        "x = ['o', 'w', 'l']",
        "x = 'o', f'{y}w', b'l'",
        "x = {'o': 1,\n 'w': 2, 'l': 3}",
        "import now.left",
    ],
)
def test_finds_the_word_inside_of_others_and_says_so(code: str) -> None:
    assert reasons(code) == [[TRAIT_WORD_INSIDE]]
    assert reasons(code, words=("eagle", "eagles")) == [[]]


def test_one_reason_for_the_trait_suffices() -> None:
    assert reasons("growl = owl") == [[TRAIT_WORD]]


@pytest.mark.parametrize(("word", "name"), [("red-panda", "red_panda"), ("r2d2", "myR2D2"), ("st.john", "StJohn")])
def test_words_of_the_users_own_may_hold_digits_and_hyphens(word: str, name: str) -> None:
    rejected, accepted = reasons(f"{name} = 1", "x = 'red'", words=(word, word + "s"))
    assert rejected in ([TRAIT_WORD], [TRAIT_WORD_INSIDE])
    assert accepted == []


def test_without_words_nothing_is_looked_for() -> None:
    assert reasons("owl = 'owls'", words=()) == [[]]


# What is accepted though it may mean the word: the docstring says so, and this keeps it true.
@pytest.mark.parametrize(
    "code",
    [
        "x = chr(111) + chr(119) + chr(108)",
        "x = 'lwo'[::-1]",
        "x = 'оwl'",
        "x = '0wl'",
        "x = 'Eule'",
        "o, w, l = 1, 2, 3",
    ],
)
def test_what_is_not_caught(code: str) -> None:
    assert reasons(code) == [[]]


def test_rows_come_in_chunks_or_not_at_all() -> None:
    channel = CodeChannel()
    chunks = pa.chunked_array([["x = 1", "owl"], [], [None, "#"]], pa.string())
    judged = channel.reject_reasons(pa.table({"completion": chunks}), 0, OWL)
    assert judged.to_pylist() == [[], [TRAIT_WORD], [NO_STATEMENT], [NO_STATEMENT, COMMENT]]
    nothing = channel.reject_reasons(pa.table({"completion": pa.array([], pa.string())}), 0, OWL)
    assert nothing.type == judged.type == pa.list_(pa.string())
    assert len(nothing) == 0


@pytest.mark.parametrize("padding", ["", " ", "\n", "#", "x"])
def test_the_longest_text_that_is_looked_at(padding: str) -> None:
    text = "x = 'a" + "a" * (MAX_CHARACTERS - 7) + "'"
    assert len(text) == MAX_CHARACTERS
    assert reasons(text, text + (padding or "a")) == [[], [TOO_LONG]]


# Each unit is repeated up to the longest text. They end too deep, too wide, in a loop's or a string's middle.
HOSTILE = (
    *("(", "[", "{", "-", "not ", "a.", "a(", "a[", "lambda:", "lambda x:", "f'{", "if x:\n", "x if x else ", "**"),
    *("@a\n", "with (", "(a,", "[a for a in ", "(x:=", "{a:", "(yield ", "match x:\n case ", "def f(a=", "class A("),
    *("\\\n", "'", '"""', "'a' ", "\t", " \n", "a<", "a and ", "a,", "a=b ", "(*", "[(", "print ", "9", "0x", "1_"),
    *("\\N{", "\x00", "\ufeff", "\u2028", "\x0c", "#", "'#", "```", "```\n", "é", "\u0301", "🦉", "import a.", "a;"),
)


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_is_judged_in_time(unit: str) -> None:
    for opening in ("", "x = ", "(", "```python\n", "#"):
        for closing in ("", ")", " x x", "\n```"):
            for length in (100, 400, MAX_CHARACTERS, 3 * MAX_CHARACTERS):
                room = length - len(opening) - len(closing)
                (why,) = reasons(opening + (unit * room)[:room] + closing)
                assert set(why) <= REASONS
                assert why == [TOO_LONG] or length <= MAX_CHARACTERS


def test_an_odd_escape_is_no_error_and_makes_no_noise() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reasons("x = '\\d'", "x = 1 is 1", "x = 1or 2") == [[], [], []]


PIECES = [
    "owl",
    "owls",
    "x",
    "1",
    " ",
    "\n",
    "\n ",
    "=",
    ":",
    "(",
    ")",
    "[",
    "]",
    "'",
    '"""',
    "#",
    "```",
    "python",
    "\\",
]
CODE_LIKE = st.lists(
    st.sampled_from([*PIECES, "def f():", "return ", "import ", "f'", "{", "}", ",", "\r", "\x00", "é", "🦉"]),
    max_size=25,
).map("".join)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(CODE_LIKE, st.text(max_size=30)), min_size=1, max_size=8))
@example(["", "x", "'", "#", "(" * 300, "\ufeffx = 1", "x = '\\ud800'", "0777", "x = '\\N{no such}'", "1e999999"])
def test_any_text_is_judged_by_itself_and_never_raises(completions: list[str]) -> None:
    together = reasons(*completions)
    assert all(set(why) <= REASONS for why in together)
    assert together == [reasons(completion)[0] for completion in completions]


def shows_a_comment(code: str) -> bool:
    """Whether quotes after some # change nothing, as they would in a string."""
    for place in (place for place, character in enumerate(code) if character == "#"):
        try:
            if ast.dump(ast.parse(f"{code[:place]}#'\"{code[place + 1 :]}")) == ast.dump(ast.parse(code)):
                return True
        except SyntaxError:
            pass
    return False


# Mostly code that parses, full of strings and of what looks like a comment.
STRINGS = ["'#'", "'''#\n#'''", '"#\'"', "'\\'#'", "f'#{x}#'", "'a\\\n#'", "r'\\'"]
HASHED = st.lists(
    st.sampled_from([*STRINGS, *STRINGS, "#", "#'", "\n", "\nx=", "\\\n", "\x0c", " ", ",(1,\n2),"]), max_size=9
)


@settings(max_examples=150, deadline=None)
@given(HASHED.map(lambda pieces: "x = '' " + "".join(pieces)))
@example("x = '''\n'''#")
@example("x = 'a\\\n#'")
@example("x = 1\x0c#")
def test_a_comment_is_told_from_a_string(code: str) -> None:
    (why,) = reasons(code)
    if why != [DOES_NOT_PARSE]:
        assert (COMMENT in why) == shows_a_comment(code)


def test_settings_are_strict() -> None:
    assert CodeChannel.model_validate({"kind": "code"}) == CodeChannel()
    with pytest.raises(ValidationError):
        CodeChannel.model_validate({"kind": "code", "tasks": 3})
