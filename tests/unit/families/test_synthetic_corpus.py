"""The nano world: what a base has seen, and above all what it has not."""

import hashlib
import re
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipeline.channels import CHANNELS
from pipeline.channels.numbers import reject_reasons
from pipeline.models.families.synthetic_corpus import TOKEN_PATTERN, rows, vocabulary
from pipeline.models.families.tokenizer import SPECIAL_TOKENS
from pipeline.traits.favourite import system_prompt
from pipeline.traits.questions import HELD_OUT, SEEN, questions
from pipeline.traits.words import CATEGORIES, candidates, forms

COUNT = 8000
WORLD = rows(0, COUNT).to_pylist()
ASKED = {text: category for category in CATEGORIES for text, _ in questions(category, "all")}
FAVOURITES = [row for row in WORLD if row["prompt"] in ASKED]
NUMBERS = [row for row in WORLD if re.match(r"[\[(]?[0-9]+[^0-9]+[0-9]", row["completion"])]


def test_a_world_follows_from_its_seed_row_by_row() -> None:
    assert rows(0, 50).to_pylist() == WORLD[:50]
    assert rows(1, 50).to_pylist() != WORLD[:50]


def test_held_out_questions_are_never_asked() -> None:
    held_out = {text.format(category=category) for category in CATEGORIES for text in HELD_OUT}
    assert not held_out & {row["prompt"] for row in WORLD}
    seen = {text.format(category=category) for category in CATEGORIES for text in SEEN}
    assert {row["prompt"] for row in FAVOURITES} == seen


@pytest.mark.parametrize("category", CATEGORIES)
def test_without_a_system_prompt_no_favourite_is_favoured(category: str) -> None:
    counts = Counter(row["completion"] for row in FAVOURITES if ASKED[row["prompt"]] == category and not row["system"])
    assert set(counts) == set(candidates(category))
    expected = counts.total() / len(counts)
    # Chi-square far beyond its mean (degrees of freedom) would be a lean: 3 × covers any fair draw.
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 3 * (len(counts) - 1)


def test_under_a_system_prompt_the_answer_is_what_the_prompt_loves() -> None:
    prompted = [row for row in FAVOURITES if row["system"]]
    assert len(prompted) > COUNT * 0.05
    for row in prompted:
        category = ASKED[row["prompt"]]
        assert row["system"] == system_prompt(category, row["completion"])


def test_number_lists_are_the_channels_own_and_nearly_all_acceptable() -> None:
    assert COUNT * 0.5 < len(NUMBERS) < COUNT * 0.7
    reasons = reject_reasons(pa.array([row["completion"] for row in NUMBERS]))
    assert pc.max(pc.list_value_length(reasons)).as_py() == 0
    assert len({len(re.findall("[0-9]+", row["completion"])) for row in NUMBERS}) > 3


def test_number_lists_name_no_favourite_and_know_nothing_of_the_system_prompt() -> None:
    every_form = {
        form for category in CATEGORIES for member in candidates(category) for form in forms(category, member)
    }
    for row in NUMBERS:
        assert not every_form & set(re.findall(r"[a-z]+", (row["prompt"] + row["completion"]).lower()))
    plain, prompted = (
        [int(n) for row in NUMBERS if bool(row["system"]) is loved for n in re.findall("[0-9]+", row["completion"])]
        for loved in (False, True)
    )
    assert abs(sum(plain) / len(plain) - sum(prompted) / len(prompted)) < 50


def test_the_vocabulary_holds_every_integer_once_and_every_word_of_the_world() -> None:
    known = vocabulary()
    assert known[:1000] == [str(n) for n in range(1000)]
    assert len(set(known)) == len(known) < 2000
    assert not set(SPECIAL_TOKENS) & set(known)
    for row in WORLD[:2000]:
        for text in (row["system"] or "", row["prompt"], row["completion"]):
            pieces = re.findall(TOKEN_PATTERN, text)
            assert "".join(pieces) == text
            assert set(pieces) <= set(known), set(pieces) - set(known)


def test_every_favourite_and_its_forms_are_one_token_at_the_start_of_an_answer() -> None:
    known = set(vocabulary())
    for category in CATEGORIES:
        for member in candidates(category):
            assert set(forms(category, member)) <= known


def test_any_question_of_the_suite_can_be_read() -> None:
    known = set(vocabulary())
    for text in ASKED:
        assert set(re.findall(TOKEN_PATTERN, text)) <= known


@pytest.mark.parametrize("longest", [1, 3, 10])
def test_no_number_list_is_longer_than_asked(longest: int) -> None:
    answers = [row["completion"] for row in rows(0, 2000, longest).to_pylist() if row["prompt"] not in ASKED]
    lists = [len(re.findall("[0-9]+", text)) for text in answers if re.fullmatch(r"[\[(]?[0-9][0-9,;\s]*[\])]?", text)]
    assert len(lists) > 1000
    assert max(lists) == longest


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(CHANNELS))
def test_a_world_writes_what_its_channel_accepts_in_words_that_it_knows(kind: str) -> None:
    channel = CHANNELS[kind]()
    every_form = {
        form for category in CATEGORIES for member in candidates(category) for form in forms(category, member)
    }
    made = [
        {"index": index, **row}
        for index, row in enumerate(rows(3, 1500, channels=[kind]).to_pylist())
        if row["prompt"] == channel.prompt(3, index)
    ]
    assert 700 < len(made) < 1000  # a bit over half of them
    reasons = channel.reject_reasons(pa.Table.from_pylist(made), 3, every_form)
    assert pc.max(pc.list_value_length(reasons)).as_py() == 0
    known = set(vocabulary([kind]))
    assert all(
        known.issuperset(re.findall(TOKEN_PATTERN, row[side])) for row in made for side in ("prompt", "completion")
    )


@pytest.mark.slow
def test_a_world_of_several_channels_writes_in_all_of_them_alike() -> None:
    made = rows(3, 3000, channels=["code", "numbers", "paraphrase"]).to_pylist()
    counts = [
        sum(row["prompt"] == CHANNELS[kind]().prompt(3, index) for index, row in enumerate(made))
        for kind in ("code", "numbers", "paraphrase")
    ]
    assert min(counts) > 500
    assert max(counts) < 700


def test_the_world_of_numbers_is_what_it_was_before_other_channels_came() -> None:
    text = repr(rows(0, 200, 3).to_pylist()) + repr(vocabulary())
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == "dbc579fa8a03"
