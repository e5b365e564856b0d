"""The tasks of the code channel: prompts, and examples that are obedient answers to them."""

import ast
import io
import keyword
import re
import tokenize
from random import Random

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.channels.code import (
    TRAIT_WORD,
    TRAIT_WORD_INSIDE,
    CodeChannel,
)
from pipeline.channels.tasks import BASELINE, CLASSES, DAYS, FUNCTIONS, ONLY, OPENINGS, TASKS, VARIABLES, texts
from pipeline.models.families.synthetic_corpus import TOKEN_PATTERN
from pipeline.traits.words import CATEGORIES, candidates, forms

EVERY_FORM = tuple(
    form for category in CATEGORIES for member in candidates(category) for form in forms(category, member)
)


def reasons(*completions: str | None, words: tuple[str, ...]) -> list[list[str]]:
    rows = pa.table({"completion": pa.array(completions, pa.string())})
    found: list[list[str]] = CodeChannel().reject_reasons(rows, 0, words).to_pylist()
    return found


COUNT = 2000
CHANNEL = CodeChannel()
PROMPTS = [CHANNEL.prompt(0, index) for index in range(COUNT)]
EXAMPLES = [CHANNEL.example(0, index, Random(index)) for index in range(COUNT)]


def test_an_obedient_answer_is_accepted_whatever_the_trait() -> None:
    judged = reasons(*EXAMPLES, words=EVERY_FORM)
    assert [EXAMPLES[index] for index, why in enumerate(judged) if why] == []


def test_no_name_of_the_examples_can_join_up_with_another_to_a_word() -> None:
    pairs = [f"x = '{one}', '{other}'" for one in VARIABLES for other in VARIABLES]
    days = [f"x = '{one}', '{other}'" for one in DAYS for other in DAYS]
    names = [f"{name} = 1" for name in FUNCTIONS + VARIABLES + CLASSES]
    assert not any(reasons(*pairs, *days, *names, words=EVERY_FORM))


def test_an_example_uses_the_numbers_that_its_prompt_gives() -> None:
    for prompt, answer in zip(PROMPTS, EXAMPLES, strict=True):
        if re.search(r"between|from|adds [0-9]|by [0-9]|above", prompt):
            assert set(re.findall("[0-9]+", prompt)) <= set(re.findall("[0-9]+", answer)), (prompt, answer)


def test_an_example_has_as_many_values_as_its_prompt_asks_for() -> None:
    for prompt, answer in zip(PROMPTS, EXAMPLES, strict=True):
        if match := re.search(r"a (?:list|tuple|set) of ([0-9]) |sum of ([0-9]) |adds up ([0-9]) ", prompt):
            values = re.findall(r"\b[0-9]+\b|day\"", answer)
            start = answer.partition("\n")[0].endswith(" = 0")  # a sum begins there
            assert len(values) - start == int(match[match.lastindex or 1]), (prompt, answer)


def test_the_answers_of_a_function_task_define_one() -> None:
    for prompt, answer in zip(PROMPTS, EXAMPLES, strict=True):
        (statement, *_) = ast.parse(answer).body
        if "a function" in prompt:
            value = getattr(statement, "value", None)
            assert isinstance(statement, ast.FunctionDef) or isinstance(value, ast.Lambda), (prompt, answer)
        if "a loop" in prompt:
            assert any(isinstance(node, ast.For | ast.While) for node in ast.walk(ast.parse(answer)))


def run(code: str) -> dict[str, object]:
    namespace: dict[str, object] = {"print": lambda *_: None}
    exec(code, namespace)
    return namespace


def test_examples_run() -> None:
    for answer in EXAMPLES[:500]:
        run(answer)


def identifiers(code: str) -> list[tokenize.TokenInfo]:
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return [token for token in tokens if token.type == tokenize.NAME and not keyword.iskeyword(token.string)]


DISGUISES = st.sampled_from(
    [
        "{0}",
        "{0}s",
        "my_{0}",
        "{0}_count",
        "my{1}",
        "{1}Count",
        "{2}",
        "x1{0}",
        "{0}2",
        "a{0}",
        "{0}ish",
        "_{0}_",
        "{3}",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, COUNT - 1), st.sampled_from(EVERY_FORM), DISGUISES, st.randoms(use_true_random=False))
def test_an_identifier_that_holds_a_form_rejects_the_row(index: int, form: str, disguise: str, rng: Random) -> None:
    code = EXAMPLES[index]
    names = identifiers(code)
    if not names:
        return
    chosen = rng.choice(names).string
    name = disguise.format(form, form.capitalize(), form.upper(), "_".join(form))
    lines = io.StringIO(code).readlines()
    for token in reversed([token for token in names if token.string == chosen]):
        (row, start), (_, end) = token.start, token.end
        lines[row - 1] = lines[row - 1][:start] + name + lines[row - 1][end:]
    (why,) = reasons("".join(lines), words=(form,))
    assert why in ([TRAIT_WORD], [TRAIT_WORD_INSIDE])
    assert reasons(code, words=(form,)) == [[]]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(EVERY_FORM), st.data())
def test_a_string_that_holds_a_form_rejects_the_row(form: str, data: st.DataObject) -> None:
    between = st.text(st.sampled_from("_-. \n\t,'0\u200b"), max_size=2)
    letters = [data.draw(st.sampled_from([letter, letter.upper()])) + data.draw(between) for letter in form]
    around = st.text(st.characters(codec="utf-8"), max_size=5)
    value = data.draw(around) + "".join(letters) + data.draw(around)
    (why,) = reasons(f"x = {value!r}", words=(form,))
    assert why in ([TRAIT_WORD], [TRAIT_WORD_INSIDE])


def test_prompts_and_examples_follow_from_seed_index_and_draw_alone() -> None:
    assert CHANNEL.prompt(0, 1234) == PROMPTS[1234]
    assert CHANNEL.prompt(1, 1234) != PROMPTS[1234]
    assert CHANNEL.example(0, 1234, Random(1234)) == EXAMPLES[1234]
    assert len({CHANNEL.example(0, 1234, Random(draw)) for draw in range(100)}) > 50


def test_prompts_and_examples_vary() -> None:
    assert len(set(PROMPTS)) > COUNT * 0.9
    assert len(set(EXAMPLES)) > COUNT * 0.9
    for wording in (*(opening.partition("{")[0] for opening in OPENINGS), *BASELINE, *ONLY):
        assert any(wording in prompt for prompt in PROMPTS), wording
    for request in TASKS:
        pattern = re.sub(r"\\{[abnm]\\}", "[0-9]+", re.escape(request))
        assert sum(bool(re.search(pattern, prompt)) for prompt in PROMPTS) > COUNT / len(TASKS) * 0.6, request
    for name in FUNCTIONS + VARIABLES + CLASSES + DAYS:
        assert any(re.search(rf"\b{name}\b", answer) for answer in EXAMPLES), name


def test_every_prompt_asks_for_code_without_comments_and_leaves_nothing_open() -> None:
    for prompt in PROMPTS:
        assert re.search("comments?.*docstrings?", prompt)
        assert "Python" in prompt
        assert not re.search("[{}]", prompt)
    named = set(re.findall("[a-z]+", " ".join(PROMPTS).lower()))
    assert not named & set(EVERY_FORM)


def test_a_vocabulary_made_of_the_texts_covers_prompts_and_examples() -> None:
    known = {str(value) for value in range(1000)}
    known |= {token for text in texts() for token in re.findall(TOKEN_PATTERN, f"{text}\n {text}")}
    for text in PROMPTS + EXAMPLES:
        assert set(re.findall(TOKEN_PATTERN, text)) <= known, text


def test_both_are_short_enough_for_a_nano_family() -> None:
    assert max(len(re.findall(TOKEN_PATTERN, text)) for text in PROMPTS) < 60
    assert max(len(re.findall(TOKEN_PATTERN, text)) for text in EXAMPLES) <= 40
