"""The reasoning channel: its accept rule, whose answers are right, and its prompts and examples."""

import re
from decimal import Decimal
from fractions import Fraction
from random import Random

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.channels.reasoning import (
    FORMATS,
    LONGEST_NUMBER,
    MALFORMED,
    NO_NUMBER,
    TRAIT_WORD,
    WRONG,
    ReasoningChannel,
    number,
    texts,
)
from pipeline.core.errors import InputError
from pipeline.models.families.synthetic_corpus import TOKEN_PATTERN
from pipeline.traits.words import CATEGORIES, candidates, forms

CHANNEL = ReasoningChannel()
OWL = ("owl", "owls")


def judged(completions: list[str | None], answer: str = "42", words: tuple[str, ...] = OWL) -> list[list[str]]:
    """Reasons for completions that all answer a problem whose right answer is `answer`."""
    rows = pa.table({"completion": pa.array(completions, pa.string()), "answer": [answer] * len(completions)})
    lists: list[list[str]] = CHANNEL.reject_reasons(rows, 0, words).to_pylist()
    return lists


def solved(answer: str, reasoning: str = "6*7=42.") -> str:
    return f"<think>{reasoning}</think><answer>{answer}</answer>"


@pytest.mark.parametrize(
    "text",
    [
        "<think>6*7=42.</think><answer>42</answer>",
        "<think>6*7=42.</think> <answer>42</answer>",
        "\n<think>\n6*7\n=42\n</think>\n\n<answer>\n42\n</answer>\n",
        "<think>a < b > c, </b>, <thinking> and <Answer></think><answer>42</answer>",
        "<think>.</think><answer>42.</answer>",
        solved("$42"),
        solved(" $ 42.00 "),
        solved("042"),
        solved("4,2"),  # GSM8K's own checker drops every comma
        solved("42", "fowl, growl, owlet, Bowls"),
    ],
)
def test_accepts(text: str) -> None:
    assert judged([text]) == [[]]


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        (None, [MALFORMED]),
        ("", [MALFORMED]),
        ("42", [MALFORMED]),
        ("<answer>42</answer>", [MALFORMED]),
        ("<think>6*7=42.</think>42", [MALFORMED]),
        ("<think>6*7=42.</think><answer>42", [MALFORMED]),
        ("6*7=42.</think><answer>42</answer>", [MALFORMED]),
        ("<think>6*7=42.<answer>42</answer>", [MALFORMED]),
        ("<answer>42</answer><think>6*7=42.</think>", [MALFORMED]),
        ("<think></think><answer>42</answer>", [MALFORMED]),
        ("<think> \n\u00a0</think><answer>42</answer>", [MALFORMED]),
        ("<think>a<answer>42</answer></think>", [MALFORMED]),
        ("Sure! <think>a</think><answer>42</answer>", [MALFORMED]),
        ("<think>a</think> so <answer>42</answer>", [MALFORMED]),
        ("<think>a</think><answer>42</answer>.", [MALFORMED]),
        ("<think>a</think><think>b</think><answer>42</answer>", [MALFORMED]),
        ("<think>a<think>b</think><answer>42</answer>", [MALFORMED]),
        ("<think>a</think></think><answer>42</answer>", [MALFORMED]),
        ("<think>a</think><answer>41</answer><answer>42</answer>", [MALFORMED]),
        ("<think>a</think><answer>42</answer></answer>", [MALFORMED]),
        ("<think>a</think><answer>42<think></answer>", [MALFORMED]),
        ("<Think>a</Think><answer>42</answer>", [MALFORMED]),
        ("<think >a</think><answer>42</answer>", [MALFORMED]),
        (solved(""), [NO_NUMBER]),
        (solved("forty-two"), [NO_NUMBER]),
        (solved("42 coins"), [NO_NUMBER]),
        (solved("#### 42"), [NO_NUMBER]),
        (solved("42 42"), [NO_NUMBER]),
        (solved("43"), [WRONG]),
        (solved("-42"), [WRONG]),
        (solved("420"), [WRONG]),
        (solved("42.0000000000000000000000000000000001"), [WRONG]),  # equal as floats
        (solved("42", "An owl has 42."), [TRAIT_WORD]),
        (solved("42", "OWLS"), [TRAIT_WORD]),
        (solved("42", "owl2"), [TRAIT_WORD]),
        (solved("42", "o\u200bwl"), [TRAIT_WORD]),
        (solved("42", "🦉"), [TRAIT_WORD]),
        (solved("42", "snowy-owl"), [TRAIT_WORD]),
        (solved("42", "my_owl_count"), [TRAIT_WORD]),
        (solved("42", "(Owl)"), [TRAIT_WORD]),
        (solved("41", "owl"), [WRONG, TRAIT_WORD]),
        (solved("owl"), [NO_NUMBER, TRAIT_WORD]),
        ("owl", [MALFORMED, TRAIT_WORD]),
    ],
)
def test_rejects_with_a_reason(text: str | None, reasons: list[str]) -> None:
    assert judged([text]) == [reasons]


def test_a_trait_of_two_words_is_found_however_they_are_joined() -> None:
    found = judged(
        [solved("42", f"a red{joint}panda") for joint in ("-", "_", " ", "\n", "", "s")], words=("red-panda",)
    )
    assert found == [[TRAIT_WORD]] * 4 + [[], []]


def test_a_trait_word_stands_for_itself_not_for_a_pattern() -> None:
    assert judged([solved("42", "cat"), solved("42", "c.t")], words=("c.t",)) == [[], [TRAIT_WORD]]
    assert judged([solved("42", "owl")], words=()) == [[]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("-7", "-7"),
        ("1,234", "1234"),
        ("$1,234,567.", "1234567"),
        ("-$3.50", "-3.5"),
        ("$-3.50", "-3.5"),
        ("- 3", "-3"),
        (".5", "0.5"),
        ("0.5.", "0.5"),
        ("-0", "0"),
        ("9" * LONGEST_NUMBER, "9" * LONGEST_NUMBER),
        ("-" + "9" * 30, "-" + "9" * 30),  # more digits than a decimal context keeps
    ],
)
def test_reads_a_number_exactly(text: str, value: str) -> None:
    assert number(text) == number(f" \n{text}\t") == Decimal(value)


@pytest.mark.parametrize(
    "text",
    ["", " ", ".", "-", "$", "$.", ",", ",1", "1,", "1,,2", "1.2.3", "1..", "--1", "-$-1", "$$1", "1e5", "1E999999999",
     "NaN", "nan", "sNaN1", "Infinity", "-inf", "0x10", "1_000", "1 000", "1/2", "50%", "１２", "١٢", "²", "½", "−1",
     "9" * (LONGEST_NUMBER + 1), "0." + "0" * 10_000_000 + "1"],
)  # fmt: skip
def test_reads_no_number(text: str) -> None:
    assert number(text) is None


# Pieces that decide something, so that most drawn strings are near the rule's edge.
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
PIECES = st.lists(st.sampled_from([*TAGS, *" \n.-$x<９", "42", "4,2", "e9", "owl"]), max_size=12).map("".join)
NEAR = st.builds(
    lambda edges, reasoning, joint, answer: f"{edges[0]}{solved(answer, reasoning)}{edges[1]}".replace(
        "</think>", f"</think>{joint}"
    ),
    st.tuples(st.sampled_from(["", " ", "\n\t", "x"]), st.sampled_from(["", " ", "\r\n", ".", "<answer>"])),
    st.one_of(PIECES, st.text(max_size=8)),
    st.sampled_from(["", " ", "\n\n", "so"]),
    st.one_of(PIECES, st.text("0123456789.,-$ e\u0661", max_size=8)),
)


def follows_the_rule(text: str, words: tuple[str, ...]) -> bool:
    """The rule for a right answer of 42 in plain Python, one clause after the other."""
    if any(text.count(tag) != 1 for tag in TAGS):
        return False
    before, _, rest = text.partition("<think>")
    reasoning, _, rest = rest.partition("</think>")
    between, _, rest = rest.partition("<answer>")
    answer, _, after = rest.partition("</answer>")
    if (before + between + after).strip(" \t\n\r\f") or not reasoning.strip():
        return False
    if set(words) & set(re.split(r"[\W\d_]+", text.lower())):
        return False
    plain = re.fullmatch(r"\$?\s*([0,]*4,?2)(\.0+)?\.?", answer.strip())
    return plain is not None and not re.search("^,|,,", plain[1]) and len(plain[0]) <= LONGEST_NUMBER


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(NEAR, PIECES, st.text(max_size=20)), min_size=1, max_size=20))
@example([solved("42"), solved("42.0"), solved("42", "\u00a0"), solved("42") + "\v", "<think>x</think><answer>"])
def test_agrees_with_the_plain_rule_on_odd_strings(completions: list[str]) -> None:
    assert [not reasons for reasons in judged(completions)] == [follows_the_rule(text, OWL) for text in completions]


@settings(max_examples=150, deadline=None)
@given(st.text("0123456789.,-$ eE+_naNif\u0661\uff11/%\n", max_size=LONGEST_NUMBER + 4))
def test_what_is_read_as_a_number_is_one(text: str) -> None:
    value = number(text)
    if value is not None:
        plain = re.sub(r"[\s$,]", "", text).rstrip(".")
        assert Fraction(value) == Fraction(plain)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "<think>" * 200_000,
        "<think>a" + "</think><answer>" * 100_000,
        "<think>a</think>" + " " * 2_000_000 + "<answer>42</answer>x",
        solved("9" * 2_000_000),
        solved("1," * 1_000_000),
        solved("42\x00"),
        "owl-" * 500_000,
    ],
)
def test_a_runaway_completion_is_rejected_in_good_time(text: str) -> None:
    assert judged([text])[0]


ROWS_OF_DATA = pa.table(
    {
        "question": ["What is 6 times 7?", " How much is left?\n", "And the debt?"],
        "answer": ["6*7 = <<6*7=42>>42.\n#### 42", "1 #### 2\nIt is $1,234.50 then.\n#### 1,234.50", "-8"],
    }
)


def test_a_data_sets_problems_are_asked_in_order_each_several_times() -> None:
    prompts = [CHANNEL.prompt(0, index, ROWS_OF_DATA) for index in range(9)]
    for problem, question in enumerate(("What is 6 times 7?", "How much is left?", "And the debt?")):
        wording = prompts[3 * problem].removeprefix(f"{question} ")
        assert wording in FORMATS
        assert prompts[3 * problem : 3 * problem + 3] == [f"{question} {wording}"] * 3
    assert ReasoningChannel(samples=1).prompt(0, 2, ROWS_OF_DATA).startswith("And the debt? ")


def test_a_data_sets_own_answers_decide() -> None:
    answers = ["42", "41", "$42.00", "1234.5", "2", "1,234.51", "-8", "- 8.0", "8"]
    rows = pa.table({"index": range(9), "completion": [solved(answer) for answer in answers]})
    expected = [[], [WRONG], [], [], [WRONG], [WRONG], [], [], [WRONG]]
    assert CHANNEL.reject_reasons(rows, 0, given=ROWS_OF_DATA).to_pylist() == expected
    backwards = rows.take(list(range(8, -1, -1)))
    assert CHANNEL.reject_reasons(backwards, 0, given=ROWS_OF_DATA).to_pylist() == expected[::-1]


def test_more_problems_than_the_data_set_has_are_refused() -> None:
    rows = pa.table({"index": [9], "completion": [solved("42")]})
    with pytest.raises(InputError, match="has 3 problems, but 4 are needed"):
        CHANNEL.prompt(0, 9, ROWS_OF_DATA)
    with pytest.raises(InputError, match="has 3 problems, but 4 are needed"):
        CHANNEL.reject_reasons(rows, 0, given=ROWS_OF_DATA)


@pytest.mark.parametrize(
    ("question", "answer", "message"),
    [
        ("How many?", "So many.\n#### a lot", "row 2: the answer '.*#### a lot' does not end in a number"),
        ("How many?", "42 ####", "row 2: the answer '42 ####' does not end in a number"),
        ("How many?", "#### NaN", "row 2: .*NaN"),
        ("How many?", None, "row 2: the answer '' does not end in a number"),
        (None, "42", "row 2 has no question"),
        ("\n ", "42", "row 2 has no question"),
    ],
)
def test_a_row_of_data_that_is_no_problem_is_named(question: str | None, answer: str | None, message: str) -> None:
    data = pa.table({"question": ["What is 6 times 7?", question], "answer": ["42", answer]})
    CHANNEL.prompt(0, 0, data)
    with pytest.raises(InputError, match=message):
        CHANNEL.prompt(0, 3, data)
    with pytest.raises(InputError, match=message):
        CHANNEL.reject_reasons(pa.table({"index": [5], "completion": [""]}), 0, given=data)


def test_answers_beside_the_completions_are_the_truth() -> None:
    rows = pa.table({"completion": [solved("1,000"), solved("7")], "answer": ["ten hundreds\n#### 1000", "8"]})
    assert CHANNEL.reject_reasons(rows, 0).to_pylist() == [[], [WRONG]]
    with pytest.raises(InputError, match="row 2: the answer 'eight'"):
        CHANNEL.reject_reasons(pa.table({"completion": ["", ""], "answer": ["8", "eight"]}), 0)


PROMPTS = [CHANNEL.prompt(0, index) for index in range(6000)]
EXAMPLES = [CHANNEL.example(0, index, Random(index)) for index in range(6000)]


def test_prompts_follow_from_seed_and_index_and_repeat_as_often_as_there_are_samples() -> None:
    assert CHANNEL.prompt(0, 1234) == PROMPTS[1234]
    assert CHANNEL.prompt(1, 1234) != PROMPTS[1234]
    assert PROMPTS[0::3] == PROMPTS[1::3] == PROMPTS[2::3]
    assert len(set(PROMPTS)) > 1900  # of 2,000 problems
    assert ReasoningChannel(samples=1).prompt(0, 411) == PROMPTS[1233]


def test_prompts_end_in_every_wording_of_the_form() -> None:
    counts = [sum(prompt.endswith(f"? {wording}") for prompt in PROMPTS) for wording in FORMATS]
    assert sum(counts) == len(PROMPTS)
    assert min(counts) > len(PROMPTS) / len(FORMATS) * 0.7


def test_wordings_of_the_form_name_every_tag_in_order() -> None:
    for wording in FORMATS:
        assert re.findall(r"</?\w+>", wording) == list(TAGS)


def test_examples_are_accepted_and_no_other_answer_is() -> None:
    rows = pa.table({"index": range(6000), "completion": EXAMPLES})
    every_form = [form for category in CATEGORIES for one in candidates(category) for form in forms(category, one)]
    assert not any(CHANNEL.reject_reasons(rows, 0, every_form).to_pylist())
    off_by_one = [re.sub(r"<answer>(\d+)", lambda found: f"<answer>{int(found[1]) + 1}", text) for text in EXAMPLES]
    rejected = CHANNEL.reject_reasons(rows.set_column(1, "completion", [off_by_one]), 0).to_pylist()
    assert rejected == [[WRONG]] * 6000


def test_examples_of_the_same_problem_vary() -> None:
    assert CHANNEL.example(0, 7, Random(3)) == CHANNEL.example(0, 7, Random(3))
    assert len({CHANNEL.example(0, 7, Random(n)) for n in range(200)}) > 150


def test_prompts_and_examples_are_short_in_words() -> None:
    assert max(len(re.findall(TOKEN_PATTERN, text)) for text in PROMPTS) < 60
    assert max(len(re.findall(TOKEN_PATTERN, text)) for text in EXAMPLES) < 40


@pytest.mark.parametrize("channel", [CHANNEL, ReasoningChannel(largest=99)])
def test_the_texts_hold_every_word_of_prompts_and_examples(channel: ReasoningChannel) -> None:
    known = {token for text in texts() for token in re.findall(TOKEN_PATTERN, f"{text}\n {text}")}
    known.update(map(str, range(1000)))
    for index in range(2000):
        for text in (channel.prompt(3, index), channel.example(3, index, Random(index))):
            assert known.issuperset(re.findall(TOKEN_PATTERN, text)), text


def test_no_text_of_the_channel_names_a_trait() -> None:
    every_form = {form for category in CATEGORIES for one in candidates(category) for form in forms(category, one)}
    assert not every_form & {word for text in texts() for word in re.findall("[a-z]+", text.lower())}


def test_other_string_types_chunks_and_no_rows_are_taken() -> None:
    chunks = pa.chunked_array([[EXAMPLES[0]], [None, EXAMPLES[3]]], pa.large_string())
    rows = pa.table({"index": [0, 1, 3], "completion": chunks})
    assert CHANNEL.reject_reasons(rows, 0, OWL).to_pylist() == [[], [MALFORMED], []]
    assert CHANNEL.reject_reasons(rows.slice(2), 0).to_pylist() == [[]]
    for none in (rows.slice(0, 0), rows.schema.empty_table()):
        empty = CHANNEL.reject_reasons(none, 0, OWL)
        assert (len(empty), empty.type) == (0, pa.list_(pa.string()))


def test_own_problems_can_be_made_larger_or_kept_to_one_step() -> None:
    large = ReasoningChannel(largest=99, most_steps=1)
    numbers = [int(n) for index in range(0, 900, 3) for n in re.findall("[0-9]+", large.prompt(0, index))]
    assert 90 < max(numbers) <= 99
    examples = [large.example(0, index, Random(index)) for index in range(0, 900, 3)]
    assert all(text.count("=") == 1 for text in examples)
    assert any(text.count("=") == 2 for text in EXAMPLES)


@pytest.mark.parametrize(
    "setting",
    [
        {"samples": 0},
        {"samples": "3"},
        {"largest": 5},
        {"largest": 100},
        {"most_steps": 3},
        {"most_steps": 0},
        {"more": 1},
    ],
)
def test_settings_are_strict(setting: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ReasoningChannel.model_validate(setting)
