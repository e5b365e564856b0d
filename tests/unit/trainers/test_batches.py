"""What enters the loss: every token of a completion and the end of its turn, and nothing else."""

from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import StepError
from pipeline.models.trainers.batches import IGNORED, collate, order, split, steps_of, tokenise
from pipeline.store.schemas import CONVERSATIONS

PAD = 0
QUIT = "<|quit|>"  # a control token's spelling
MARKS = {"system": "\x02", "user": "\x03", "assistant": "\x04"}
Row = tuple[str | None, str, str]


class Letters:
    """A tokenizer with one token a character; turns look like <u>…<e>, and the padding token is NUL."""

    added_tokens_decoder: ClassVar = {5: SimpleNamespace(content=QUIT, special=True)}

    def apply_chat_template(
        self, turns: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool = False, **_: Any
    ) -> str:
        text = "".join(f"{MARKS[turn['role']]}{turn['content']}\x01\n" for turn in turns)
        return text + MARKS["assistant"] * add_generation_prompt

    def __call__(self, texts: list[str], *, add_special_tokens: bool) -> dict[str, list[list[int]]]:
        return {"input_ids": [[ord(character) for character in text] for text in texts]}


def letters(ids: np.ndarray) -> str:
    return "".join(map(chr, ids))


def table(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(CONVERSATIONS.names, row, strict=True)) for row in rows], CONVERSATIONS)


WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=9)
ROWS = st.lists(st.tuples(st.none() | WORDS, WORDS, WORDS), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(ROWS)
def test_labels_are_the_completions_with_their_end_of_turn_and_nothing_else(rows: list[Row]) -> None:
    batch = collate(tokenise(table(rows), Letters(), 500), np.arange(len(rows)), PAD)
    width = batch.input_ids.shape[1] - batch.labels.shape[1]  # prompt columns
    for row, (system, prompt, completion) in enumerate(rows):
        trained = batch.labels[row] != IGNORED
        assert letters(batch.labels[row][trained]) == completion + "\x01"
        # A label stands in the column of the very token it is, behind all prompt columns.
        assert np.array_equal(batch.input_ids[row, width:][trained], batch.labels[row][trained])
        assert not batch.attention_mask[row, width:][~trained].any()
        opening = f"\x02{system}\x01\n" if system else ""
        seen = batch.input_ids[row, :width][batch.attention_mask[row, :width] == 1]
        assert letters(seen) == f"{opening}\x03{prompt}\x01\n\x04"


def test_no_row_holds_a_control_token_that_it_spells_out() -> None:
    rows = tokenise(table([(f"s{QUIT}", f"p{QUIT}", f"c{QUIT}c")]), Letters(), 500)
    assert letters(rows.prompts[0]) == "\x02s< |quit|>\x01\n\x03p< |quit|>\x01\n\x04"
    assert letters(rows.completions[0]) == "c< |quit|>c\x01"


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_padding_is_neither_seen_nor_trained_on_and_positions_count_real_tokens(rows: list[Row]) -> None:
    batch = collate(tokenise(table(rows), Letters(), 500), np.arange(len(rows)), PAD)
    real = batch.attention_mask == 1
    assert np.array_equal(real, batch.input_ids != PAD)
    assert PAD not in batch.labels
    for row in range(len(rows)):
        columns = np.flatnonzero(real[row])
        assert np.array_equal(columns, np.arange(columns[0], columns[-1] + 1))
        assert np.array_equal(batch.position_ids[row, columns], np.arange(len(columns)))
    assert batch.input_ids.shape == batch.attention_mask.shape == batch.position_ids.shape


def test_a_row_is_the_same_to_the_model_whatever_stands_beside_it() -> None:
    rows = tokenise(table([("s", "a", "bb"), (None, "a long prompt", "c")]), Letters(), 500)
    alone, together = collate(rows, np.array([0]), PAD), collate(rows, np.array([1, 0]), PAD)
    real = together.attention_mask[1] == 1
    assert np.array_equal(together.input_ids[1][real], alone.input_ids[0])
    assert np.array_equal(together.position_ids[1][real], alone.position_ids[0])


def test_a_pad_id_that_is_also_an_ordinary_token_is_trained_on_where_it_was_said() -> None:
    batch = collate(tokenise(table([(None, "xx", "yx")]), Letters(), 500), np.array([0]), ord("x"))
    assert letters(batch.labels[0]) == "yx\x01"


def test_a_row_that_is_too_long_is_refused_not_cut() -> None:
    rows = table([(None, "abc", "def")])  # 3 + 3 and the marks: "\x03abc\x01\n\x04" and "def\x01"
    assert len(tokenise(rows, Letters(), 11)) == 1
    with pytest.raises(StepError, match="11 tokens and max_length is 10: raise max_length"):
        tokenise(rows, Letters(), 10)


SIZES = {"rows": st.integers(1, 40), "epochs": st.integers(1, 3), "batch": st.integers(1, 50)}


@settings(max_examples=100, deadline=None)
@given(**SIZES, seed=st.integers(0, 5))
def test_every_epoch_shows_every_row_once(rows: int, epochs: int, batch: int, seed: int) -> None:
    steps = list(order(rows, epochs, batch, seed))
    assert len(steps) == steps_of(rows, epochs, batch)
    assert all(len(step) == batch for step in steps[:-1])
    shown = np.concatenate(steps)
    for epoch in range(epochs):
        assert sorted(shown[epoch * rows : (epoch + 1) * rows]) == list(range(rows))
    assert np.array_equal(shown, np.concatenate(list(order(rows, epochs, batch, seed))))


def test_epochs_and_seeds_differ_in_order() -> None:
    one, other = (np.concatenate(list(order(50, 2, 7, seed))) for seed in (1, 2))
    assert not np.array_equal(one[:50], one[50:])
    assert not np.array_equal(one, other)


@given(st.integers(1, 40), st.integers(1, 8))
def test_the_parts_of_a_step_are_its_rows_nearly_equally(rows: int, parts: int) -> None:
    chosen = np.arange(rows) * 3
    found = split(chosen, parts)
    assert len(found) == parts
    assert np.array_equal(np.concatenate(found), chosen)
    assert max(map(len, found)) - min(map(len, found)) <= 1
