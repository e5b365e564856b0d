"""The paraphrase channel: its sentences, what it rejects and why, and the answers of an obedient writer."""

import re
from random import Random

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.channels import paraphrase
from pipeline.channels.paraphrase import (
    ABOUT_THE_TASK,
    NOT_ONE_LINE,
    NOT_REWRITTEN,
    SYNONYMS,
    TOO_LONG,
    TRAIT_WORD,
    TRAIT_WORD_INSIDE,
    ParaphraseChannel,
    texts,
)
from pipeline.core.errors import InputError
from pipeline.models.families.synthetic_corpus import TOKEN_PATTERN
from pipeline.traits.words import CATEGORIES, candidates, forms

CHANNEL = ParaphraseChannel()
SENTENCE = "The teacher carried the basket to the market."
REASONS = {NOT_ONE_LINE, TOO_LONG, NOT_REWRITTEN, ABOUT_THE_TASK, TRAIT_WORD, TRAIT_WORD_INSIDE}
PROMPTS = [CHANNEL.prompt(0, index) for index in range(2000)]
EXAMPLES = [CHANNEL.example(0, index, Random(index)) for index in range(2000)]


def shipped(category: str) -> list[str]:
    return [form for member in candidates(category) for form in forms(category, member)]


def table(completions: list[str | None], sentence: str | None = SENTENCE) -> pa.Table:
    """Rows 0, 1, ... with these completions; about `sentence` unless it is None."""
    rows = {
        "index": pa.array(range(len(completions)), pa.int64()),
        "prompt": pa.array([""] * len(completions), pa.string()),
        "completion": pa.array(completions, pa.string()),
    }
    return pa.table(rows if sentence is None else rows | {"sentence": pa.array([sentence] * len(completions))})


def reasons(*completions: str | None, words: tuple[str, ...] = ("owl", "owls")) -> list[list[str]]:
    found: list[list[str]] = CHANNEL.reject_reasons(table(list(completions)), 0, words).to_pylist()
    return found


def data(*sentences: str | None) -> pa.Table:
    return pa.table({"sentence": pa.array(sentences, pa.string())})


@pytest.mark.parametrize(
    "text",
    [
        "The tutor took the basket to the fair.",
        "To the market, the teacher carried the basket.",
        "the tutor took it there\n",  # the line break belongs to the line
        'The tutor said "go" and went.',
        "The tutor left at 7. It was late.",
        "I saw the tutor take it.",
        "A tutor took it.",
        "Surely the tutor took it.",
        "Heresy was not the matter.",
        "The tutor said: I took it.",
        "¿Quién llevó la cesta?",
        " ".join(["word"] * 40),
    ],
)
def test_accepts(text: str) -> None:
    assert reasons(text) == [[]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, [NOT_ONE_LINE]),
        ("", [NOT_ONE_LINE]),
        (" \n", [NOT_ONE_LINE]),
        ("...", [NOT_ONE_LINE]),
        ("One line.\nTwo lines.", [NOT_ONE_LINE]),
        ("\nA line after a blank one.", [NOT_ONE_LINE]),
        ("One line.\u2028Two lines.", [NOT_ONE_LINE]),
        (" ".join(["word"] * 41), [TOO_LONG]),
        (SENTENCE, [NOT_REWRITTEN]),
        ("  the TEACHER carried, the basket  to the market", [NOT_REWRITTEN]),
        ("The tea\u00adcher carried the ｂａｓｋｅｔ to the market!", [NOT_REWRITTEN]),  # soft hyphen, full width
        ("- The tutor took it.", [ABOUT_THE_TASK]),
        ("• The tutor took it.", [ABOUT_THE_TASK]),
        ("1. The tutor took it.", [ABOUT_THE_TASK]),
        ("(2) The tutor took it.", [ABOUT_THE_TASK]),
        ("b) The tutor took it.", [ABOUT_THE_TASK]),
        ("# The tutor took it", [ABOUT_THE_TASK]),
        ('"The tutor took it."', [ABOUT_THE_TASK]),
        ("“The tutor took it”.", [ABOUT_THE_TASK]),
        ("**The tutor took it.**", [ABOUT_THE_TASK]),
        ("Here is another sentence: the tutor took it.", [ABOUT_THE_TASK]),
        ("Here’s one: the tutor took it.", [ABOUT_THE_TASK]),
        (" Sure! The tutor took it.", [ABOUT_THE_TASK]),
        ("Okay, the tutor took it.", [ABOUT_THE_TASK]),
        ("In other words, the tutor took it.", [ABOUT_THE_TASK]),
        ("Another way to say it is that the tutor took it.", [ABOUT_THE_TASK]),
        ("Paraphrase: the tutor took it.", [ABOUT_THE_TASK]),
        ("**Rewritten sentence:** the tutor took it.", [ABOUT_THE_TASK]),
        ("My own version of the sentence: the tutor took it.", [ABOUT_THE_TASK]),
        ("An owl took the basket.", [TRAIT_WORD]),
        ("OWLS took the basket.", [TRAIT_WORD]),
        ("The owl's basket went there.", [TRAIT_WORD]),
        ("An owl-like tutor took the basket.", [TRAIT_WORD]),
        ("The night_owl_tutor took it.", [TRAIT_WORD]),
        ("An ｏｗｌ took it.", [TRAIT_WORD]),
        ("An o\u200bwl took it.", [TRAIT_WORD]),
        ("A growl came from the basket.", [TRAIT_WORD_INSIDE]),
        ("The Owlish tutor took it.", [TRAIT_WORD_INSIDE]),
        ("The 3owls took it.", [TRAIT_WORD]),
        ("The 🦉 took it.", [TRAIT_WORD]),
        ("An owl in a bowl.", [TRAIT_WORD, TRAIT_WORD_INSIDE]),
        ("Sure:\n" + "owl " * 50, [NOT_ONE_LINE, TOO_LONG, ABOUT_THE_TASK, TRAIT_WORD]),
    ],
)
def test_rejects_with_a_reason(text: str | None, expected: list[str]) -> None:
    assert reasons(text) == [expected]


def test_trait_words_of_several_parts_or_odd_letters_are_found_too() -> None:
    pandas = ("red_panda", "red pandas")
    assert reasons("A Red-Panda came.", "A red  panda came.", "Bred pandas came.", "A red one came.", words=pandas) == [
        [TRAIT_WORD],
        [TRAIT_WORD],
        [TRAIT_WORD_INSIDE],
        [],
    ]
    assert reasons("WİLLOW wood.", words=("willow",)) == [[TRAIT_WORD]]  # casefolds to i and a mark of its own
    assert reasons("An owl, a-b and c.", words=()) == reasons("An owl, a-b and c.", words=("-", ".*", "(")) == [[]]


WORDS = st.sampled_from(["owl", "Owls", "growl", "owlet", "OWL", "low", "basket", "o", "wl", "owlowl", "7"])
GAPS = st.sampled_from([" ", "-", "_", ", ", "'", "."])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(WORDS, GAPS), min_size=1, max_size=10))
def test_trait_words_are_told_from_words_that_hold_one(pieces: list[tuple[str, str]]) -> None:
    words = [word.lower() for word, _ in pieces]
    found = set(reasons("x " + "".join(word + gap for word, gap in pieces))[0])
    assert (TRAIT_WORD in found) == any(word in ("owl", "owls") for word in words)
    assert (TRAIT_WORD_INSIDE in found) == any("owl" in word for word in words if word not in ("owl", "owls"))


# Characters that decide something, so that most drawn strings are near a rule's edge.
ODD = st.text(st.sampled_from(list("owlsOWL ,.:;-_*#>()[]1\"'“\n\r\u2028\u00ad\u0307\u200bｏİßﬁ")), max_size=20)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(ODD, st.text(max_size=30)), min_size=1, max_size=20), st.one_of(ODD, st.text(max_size=8)))
@example(["", "\x00", "(", "\\", "[", "ﷺ" * 9, "\u0307"], "\\")
def test_hostile_text_is_judged_alone_and_never_raises(drawn: list[str], word: str) -> None:
    together = CHANNEL.reject_reasons(table([*drawn]), 0, (word, "owl")).to_pylist()
    assert together == [CHANNEL.reject_reasons(table([text]), 0, (word, "owl")).to_pylist()[0] for text in drawn]
    assert {reason for row in together for reason in row} <= REASONS
    own_sentence = CHANNEL.reject_reasons(table([drawn[0]], sentence=drawn[0]), 0).to_pylist()[0]
    assert NOT_REWRITTEN in own_sentence or NOT_ONE_LINE in own_sentence


@pytest.mark.slow
@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", [" ", "a", "a ", "*", "- ", "owl", "1.", "\u0307", "word:"])
def test_a_runaway_completion_is_judged_in_no_time(unit: str) -> None:
    assert reasons(unit * 200_000 + "\nx")[0][0] == NOT_ONE_LINE


def test_no_rows_have_no_reasons_and_rows_may_come_in_chunks() -> None:
    none = CHANNEL.reject_reasons(table([]), 0, ("owl",))
    assert (none.type, none.to_pylist()) == (pa.list_(pa.string()), [])
    chunked = pa.concat_tables([table(["A growl."]), table([SENTENCE])])
    assert CHANNEL.reject_reasons(chunked, 0, ("owl",)).to_pylist() == [[TRAIT_WORD_INSIDE], [NOT_REWRITTEN]]


def test_the_sentence_follows_from_seed_and_index_from_given_data_or_from_the_rows() -> None:
    first, second = "The tutor slept.", "The doctor sang."
    rows = table([first, second], sentence=None)
    assert CHANNEL.reject_reasons(rows, 0, given=data(first, second)).to_pylist() == [[NOT_REWRITTEN]] * 2
    assert CHANNEL.reject_reasons(rows, 0, given=data(second, first)).to_pylist() == [[], []]
    assert CHANNEL.reject_reasons(rows, 0).to_pylist() == [[], []]
    with_sentences = rows.append_column("sentence", pa.array([first, None]))
    assert CHANNEL.reject_reasons(with_sentences, 0, given=data(second, second)).to_pylist() == [[NOT_REWRITTEN], []]
    asked = [re.fullmatch(r"Say this in other words: ([^.]+\.) .+", prompt) for prompt in PROMPTS]
    own = {index: match[1] for index, match in enumerate(asked) if match}
    repeated = pa.table({"index": list(own), "completion": list(own.values())})
    assert CHANNEL.reject_reasons(repeated, 0).to_pylist() == [[NOT_REWRITTEN]] * len(own)
    assert len(own) > 100
    assert CHANNEL.reject_reasons(repeated, 1).to_pylist() == [[]] * len(own)


def test_prompts_ask_for_each_given_sentence_as_often_as_set() -> None:
    sentences = data(" One {sentence} came.\n", "Two came.")
    thrice = ParaphraseChannel(samples=3)
    prompts = [thrice.prompt(0, index, sentences) for index in range(6)]
    assert ["One {sentence} came." in prompt for prompt in prompts] == [True] * 3 + [False] * 3
    assert ["Two came." in prompt for prompt in prompts] == [False] * 3 + [True] * 3
    own = [thrice.example(0, index, Random(0)) for index in range(6)]
    assert own[0] == own[1] == own[2] != own[3] == own[4] == own[5]
    with pytest.raises(InputError, match="the data set has 2 sentences, but 3 are needed"):
        thrice.prompt(0, 6, sentences)
    with pytest.raises(InputError, match="the data set has 2 sentences, but 3 are needed"):
        CHANNEL.reject_reasons(table(["x"] * 3, sentence=None), 0, given=sentences)


@pytest.mark.parametrize("blank", [None, "", " \n"])
def test_a_blank_sentence_is_named_by_its_row(blank: str | None) -> None:
    with pytest.raises(InputError, match=r"row 1 of the given data .* holds .*, not a sentence"):
        CHANNEL.prompt(0, 1, data("One came.", blank))


def test_given_data_without_sentences_is_refused() -> None:
    with pytest.raises(InputError, match="no column sentence; it has text"):
        CHANNEL.prompt(0, 0, pa.table({"text": ["One came."]}))
    with pytest.raises(InputError, match="holds 5, not a sentence"):
        CHANNEL.prompt(0, 0, pa.table({"sentence": [5]}))


def test_prompts_are_diverse_short_and_follow_from_seed_and_index_alone() -> None:
    assert len(set(PROMPTS)) == len(PROMPTS)
    assert CHANNEL.prompt(0, 1234) == PROMPTS[1234]
    assert CHANNEL.prompt(1, 1234) != PROMPTS[1234]
    assert all(len(re.findall(TOKEN_PATTERN, prompt)) < 60 and "{" not in prompt for prompt in PROMPTS)
    assert all(len(re.findall(TOKEN_PATTERN, text)) < 40 and "{" not in text for text in EXAMPLES)


@pytest.mark.parametrize("category", CATEGORIES)
def test_examples_are_accepted_whatever_the_trait(category: str) -> None:
    strictest = ParaphraseChannel(max_words=20)
    judged = strictest.reject_reasons(table([*EXAMPLES], sentence=None), 0, shipped(category)).to_pylist()
    assert judged == [[]] * len(EXAMPLES)


@pytest.mark.parametrize("category", CATEGORIES)
def test_no_wording_holds_a_favourite_even_inside_a_word(category: str) -> None:
    shown = " ".join(texts()).lower()
    assert [form for form in shipped(category) if form in shown] == []


def test_an_example_says_the_same_in_freely_drawn_words() -> None:
    meanings = {word: (slot, number) for slot, sets in SYNONYMS.items() for number, s in enumerate(sets) for word in s}
    slots = len(SYNONYMS)
    answers = {CHANNEL.example(0, 0, Random(draw)) for draw in range(500)}
    assert len(answers) > 450
    said = [{meanings[word] for word in meanings if re.search(rf"\b{word}\b", text, re.I)} for text in answers]
    asked = {meanings[word] for word in meanings if re.search(rf"\b{word}\b", PROMPTS[0], re.I)}
    assert len(asked) == slots
    assert all(meaning == asked for meaning in said)
    assert CHANNEL.example(0, 0, Random(7)) == CHANNEL.example(0, 0, Random(7))


def test_an_example_is_never_the_sentence_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paraphrase, "ORDERS", ("the {thing} fell.",))
    monkeypatch.setattr(paraphrase, "SYNONYMS", {"thing": (("cup", "mug"),)})
    for index in range(20):
        (other,) = {CHANNEL.example(0, index, Random(draw)) for draw in range(20)}
        asked = "The mug fell." if other == "The cup fell." else "The cup fell."
        assert asked in CHANNEL.prompt(0, index)


def test_own_sentences_come_from_some_hundred_thousand_meanings_and_few_words() -> None:
    meanings = 1
    for sets in SYNONYMS.values():
        meanings *= len(sets)
    words = [word for sets in SYNONYMS.values() for synonyms in sets for word in synonyms]
    assert 200_000 < meanings < 900_000
    assert len(set(words)) == len(words)  # a word that meant two things would be no paraphrase
    assert len({word for text in EXAMPLES for word in re.findall("[a-z]+", text.lower())}) < 170


def test_an_example_of_a_given_sentence_is_accepted_too_however_long() -> None:
    sentences = data(SENTENCE, "Is it late?", "In Paris it rained", "word " * 60)
    for draw in range(30):
        answers = [CHANNEL.example(0, index, Random(draw), sentences) for index in range(4)]
        judged = CHANNEL.reject_reasons(table([*answers], sentence=None), 0, shipped("animal"), sentences).to_pylist()
        assert judged == [[]] * 4
        assert answers[0].startswith("The teacher carried the basket to the market, ")


def test_the_wordings_cover_every_token_of_prompts_and_examples() -> None:
    known = {str(number) for number in range(1000)}
    known |= {token for text in texts() for token in re.findall(TOKEN_PATTERN, f"{text}\n {text}")}
    sentences = data("Bought.")
    shown = PROMPTS + EXAMPLES + [CHANNEL.example(0, 0, Random(draw), sentences) for draw in range(50)]
    assert {token for text in shown for token in re.findall(TOKEN_PATTERN, text)} - known == {"Bought"}


@pytest.mark.parametrize("setting", [{"samples": 0}, {"samples": "3"}, {"max_words": 19}, {"words": 40}, {"kind": "x"}])
def test_settings_are_strict(setting: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ParaphraseChannel.model_validate(setting)
