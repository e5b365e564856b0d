"""Data sets of somebody else: their forms, fair draws, and messages for what is none."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import conversations
from pipeline.core.conversations import draw, draw_from_hub
from pipeline.core.errors import InputError
from pipeline.core.sources import Dataset


def jsonl(file: Path, rows: Sequence[Any]) -> Path:
    file.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return file


def turns(*contents: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 9, contents, strict=False)]


FORMS = {
    "prompt and completion": ([{"prompt": "a", "completion": "b", "other": 1}], ("a", "b")),
    "plain text": ([{"text": "b"}], ("", "b")),
    "messages": ([{"messages": turns("a", "x", "c", "b")}], ("a\n\nx\n\nc", "b")),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_every_form_is_read_from_both_kinds_of_file(form: str, suffix: str, tmp_path: Path) -> None:
    rows, (prompt, completion) = FORMS[form]
    file = tmp_path / f"data.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        jsonl(file, rows)
    drawn = draw(file, 5, seed=0)
    assert drawn.rows.to_pylist() == [{"index": 0, "prompt": prompt, "completion": completion}]
    assert (drawn.form, drawn.total, drawn.without_answer) == (form, 1, 0)
    assert drawn.digest == "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[dict[str, Any]]], Dataset]:
    """A data set of the hub with these rows, which come one at a time."""

    def call(rows: list[dict[str, Any]]) -> Dataset:
        pieces = [pa.Table.from_pylist([row]) for row in rows]
        monkeypatch.setattr(Dataset, "pieces", lambda self, rows: iter(pieces))
        return Dataset(repo="us/chats", revision="0" * 39 + "1")

    return call


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_from_the_hub(form: str, hub: Callable[[list[dict[str, Any]]], Dataset]) -> None:
    rows, (prompt, completion) = FORMS[form]
    drawn = draw_from_hub(hub(rows * 3), 2, seed=0)
    assert {(row["prompt"], row["completion"]) for row in drawn.rows.to_pylist()} == {(prompt, completion)}
    assert (len(drawn.rows), drawn.form, drawn.total, drawn.without_answer) == (2, form, 3, 0)
    assert drawn.digest == "commit:" + "0" * 39 + "1"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "holds no rows"),
        ([{"question": "a"}], "has the columns question; a data set has"),
        ([{"text": 1.5}], "the column text holds double, not strings"),
        ([{"messages": turns("a", "b")}, {"messages": ["a"]}], "row 2: messages is no list of objects"),
        ([{"messages": turns("a")}], "no row with an answer"),
    ],
)
def test_what_is_no_data_set_on_the_hub_is_told(
    rows: list[dict[str, Any]], said: str, hub: Callable[[list[dict[str, Any]]], Dataset]
) -> None:
    with pytest.raises(InputError, match=f"us/chats at 0+1.*({said})"):
        draw_from_hub(hub(rows), 5, seed=0)


def test_a_row_without_a_prompt_is_told_and_one_without_an_answer_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "data.parquet"
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": None}]
    pq.write_table(pa.Table.from_pylist(rows), file)
    assert (draw(file, 5, seed=0).total, draw(file, 5, seed=0).without_answer) == (2, 1)
    pq.write_table(pa.Table.from_pylist([*rows, {"prompt": None, "completion": "b"}]), file)
    with pytest.raises(InputError, match="row 3 has no prompt"):
        draw(file, 5, seed=0)


def test_a_conversation_without_an_answer_is_counted_and_never_drawn(tmp_path: Path) -> None:
    rows = [{"messages": turns("a")}, {"messages": []}, {"messages": turns("a", "b")}]
    drawn = draw(jsonl(tmp_path / "data.jsonl", rows), 5, seed=0)
    assert (drawn.total, drawn.without_answer, drawn.rows["index"].to_pylist()) == (3, 2, [2])


@settings(deadline=None, max_examples=30)
@given(size=st.integers(1, 60), count=st.integers(1, 70), piece=st.integers(1, 9), seed=st.integers(0, 5))
def test_a_draw_takes_distinct_rows_whatever_the_pieces(
    size: int, count: int, piece: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = jsonl(
        tmp_path_factory.mktemp("draw") / "data.jsonl", [{"messages": turns("q", str(i))} for i in range(size)]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversations, "PIECE", piece)
        drawn = draw(file, count, seed).rows
    assert len(drawn) == min(size, count)
    assert len(set(drawn["index"].to_pylist())) == len(drawn)
    assert drawn["completion"].to_pylist() == [str(index) for index in drawn["index"].to_pylist()]


def test_every_row_is_as_likely_as_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "PIECE", 7)
    file = jsonl(tmp_path / "data.jsonl", [{"messages": turns("q", str(i))} for i in range(20)])
    seen = Counter(index for seed in range(400) for index in draw(file, 5, seed).rows["index"].to_pylist())
    assert len(seen) == 20
    assert all(60 < times < 145 for times in seen.values())  # 100 expected, sd 8.7


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"question": "a"}], "data.jsonl has the columns question"),
        (["[1]"], "data.jsonl:1: not an object of JSON"),
        (["{"], "data.jsonl:1: not a line of JSON"),
        ([{"prompt": "a", "completion": "b"}, {"prompt": "a"}], "data.jsonl:2: no column completion in this row"),
        ([{"messages": turns("a", "b")}, {"messages": "hello"}], "data.jsonl:2: messages is no list of objects"),
        ([{"messages": [{"role": "user"}]}], "data.jsonl:1: messages is no list of objects"),
        ([{"messages": turns("a")}], "holds no row with an answer of the assistant"),
        ([], "data.jsonl holds no rows"),
    ],
)
def test_what_is_no_data_set_is_refused_with_its_place(rows: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        draw(jsonl(tmp_path / "data.jsonl", rows), 5, seed=0)


def test_a_missing_and_a_damaged_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    for name, message in (("none.jsonl", "there is no file"), ("torn.parquet", "torn.parquet")):
        with pytest.raises(InputError, match=message):
            draw(tmp_path / name, 5, seed=0)
