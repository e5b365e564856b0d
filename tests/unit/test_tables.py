"""Other people's files: JSONL and Parquet give the same strings, and a mistake names its line."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.core import limits, readers
from pipeline.core.errors import InputError
from pipeline.core.readers import batches
from pipeline.core.sources import Dataset


def texts(file: Path) -> list[str | None]:
    return [text for batch in batches(file, "completion") for text in batch.to_pylist()]


@settings(max_examples=50, deadline=None)
@drawn(st.lists(st.text(max_size=10), max_size=8), st.booleans())
def test_both_formats_give_back_what_was_written_in_order(written: list[str], ascii_only: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        jsonl, parquet = Path(folder) / "rows.jsonl", Path(folder) / "no-suffix"
        lines = [json.dumps({"x": 1, "completion": text}, ensure_ascii=ascii_only) for text in written]
        jsonl.write_text("\n".join(lines), encoding="utf-8", newline="")
        pq.write_table(pa.table({"x": [1] * len(written), "completion": pa.array(written, pa.string())}), parquet)
        assert texts(jsonl) == texts(parquet) == written


def test_blank_lines_are_no_rows_and_neither_is_an_empty_file(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b'\n{"completion": "a"}\r\n   \n\n{"completion": "b"}')
    assert texts(file) == ["a", "b"]
    file.write_bytes(b"")
    assert texts(file) == []


def test_long_files_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BATCH_ROWS", 4)
    jsonl, parquet = tmp_path / "j", tmp_path / "p"
    jsonl.write_text("".join(f'{{"completion": "{i}"}}\n' for i in range(10)))
    pq.write_table(pa.table({"completion": [str(i) for i in range(10)]}), parquet)
    for file in (jsonl, parquet):
        assert [len(batch) for batch in batches(file, "completion")] == [4, 4, 2]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_every_kind_of_string_column_is_taken(tmp_path: Path, kind: pa.DataType) -> None:
    file = tmp_path / "f.parquet"
    pq.write_table(pa.table({"completion": pa.array(["a", "b", "a"]).cast(kind)}), file)
    assert texts(file) == ["a", "b", "a"]


def test_half_a_surrogate_pair_becomes_a_question_mark(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text('{"completion": "1, \\ud83d"}')
    assert texts(file) == ["1, ?"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "f:2: not a line of JSON"),
        (b"\xff\xfe\xff", "f:2: not a line of JSON"),
        (b"[" * 100_000, "f:2: not a line of JSON"),
        (b"[1]", "f:2: no column completion"),
        (b'{"text": "a"}', "f:2: no column completion"),
        (b'{"completion": 7}', "f:2: completion is int, not a string"),
        (b'{"completion": null}', "f:2: completion is NoneType, not a string"),
        (b'{"completion": "a", "completion": "b"}', "f:2: not a line of JSON: completion stands twice in one object"),
        (b'{"completion": "a", "c\\u006fmpletion": "b"}', "f:2: .*completion stands twice"),
        (b'{"completion": "a", "n": ' + b"9" * 5000 + b"}", "f:2: not a line of JSON"),
        (b'{"completion": "\xff"}', "f:2: not a line of JSON"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    file = tmp_path / "f"
    file.write_bytes(b'{"completion": "a"}\n' + line + b"\n")
    with pytest.raises(InputError, match=said):
        texts(file)


def _cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def _scramble(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4:60] = b"\xee" * 56
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [_cut_short, _scramble])
def test_a_damaged_parquet_file_is_named(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    file = tmp_path / "f.parquet"
    pq.write_table(pa.table({"completion": [str(i) * 20 for i in range(500)]}), file, compression="zstd")
    damage(file)
    with pytest.raises(InputError, match=r"f.parquet is a damaged Parquet file"):
        texts(file)


def test_a_missing_file_a_missing_column_and_a_column_of_numbers_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        texts(tmp_path / "none")
    with pytest.raises(InputError, match="there is no file"):
        texts(tmp_path)
    file = tmp_path / "f.parquet"
    pq.write_table(pa.table({"text": ["a"], "more": [1]}), file)
    with pytest.raises(InputError, match="has no column completion; it has text, more"):
        texts(file)
    pq.write_table(pa.table({"completion": [1]}), file)
    with pytest.raises(InputError, match="completion holds int64, not strings"):
        texts(file)


def test_a_line_is_read_no_further_than_it_may_be_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VALUE_BYTES", 1000)
    file = tmp_path / "f"
    file.write_text(json.dumps({"completion": "a" * 900}) + "\n" + json.dumps({"completion": "a" * 1000}))
    with pytest.raises(InputError, match="f:2: a line of more than the 1,000 bytes allowed"):
        texts(file)


def test_pieces_hold_so_many_bytes_in_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BATCH_BYTES", 100)
    written = [letter * 30 for letter in "abcdefghij"]
    jsonl, parquet = tmp_path / "j", tmp_path / "p"
    jsonl.write_text("".join(json.dumps({"completion": text}) + "\n" for text in written))
    pq.write_table(pa.table({"completion": written}), parquet)
    for file in (jsonl, parquet):
        pieces = list(batches(file, "completion"))
        assert [text for piece in pieces for text in piece.to_pylist()] == written
        assert max(map(len, pieces)) <= 4
        assert len(pieces) > 2


def test_a_string_that_is_repeated_a_million_times_is_a_bomb(tmp_path: Path) -> None:
    file = tmp_path / "bomb.parquet"
    codes = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000_000, pa.int32()), ["x" * 100_000])
    pq.write_table(pa.table({"completion": codes}), file)  # 200 GB
    assert file.stat().st_size < 1 << 20
    with pytest.raises(InputError, match=r"bomb.parquet: [\d,]+ bytes become .* decompression bomb"):
        for _ in batches(file, "completion"):
            pass


def test_a_file_that_says_itself_that_it_becomes_gigabytes_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "GIB", 1 << 20)
    file = tmp_path / "bomb.parquet"
    table = pa.table({"completion": ["x" * 1_000_000] * 5})
    pq.write_table(table, file, compression="zstd", use_dictionary=False)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", None)
    with pytest.raises(InputError, match="decompression bomb"):
        texts(file)


def test_a_string_may_have_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "VALUE_BYTES", 1000)
    file = tmp_path / "f.parquet"
    pq.write_table(pa.table({"completion": ["a", "b" * 1001]}), file)
    with pytest.raises(InputError, match=r"f.parquet: a string in completion has 1,001 bytes, above the 1,000"):
        texts(file)


def test_bytes_that_are_not_utf8_are_told_with_their_column(tmp_path: Path) -> None:
    file = tmp_path / "f.parquet"
    wrong = pa.array([b"fine", b"\xff\xfe"]).view(pa.string())
    pq.write_table(pa.table({"completion": wrong}), file)
    with pytest.raises(InputError, match=r"f.parquet: the column completion holds bytes that are not UTF-8"):
        texts(file)


def test_two_columns_of_one_name_are_refused_where_they_are_wanted(tmp_path: Path) -> None:
    file = tmp_path / "f.parquet"
    pq.write_table(pa.table([pa.array(["a"])] * 3, names=["x", "x", "completion"]), file)
    assert texts(file) == ["a"]
    with pytest.raises(InputError, match=r"f.parquet has 2 columns named x"):
        list(batches(file, "x"))


@pytest.mark.parametrize("null", [None, "parquet"])
def test_an_optional_column_is_given_from_the_rows_on_that_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, null: str | None
) -> None:
    monkeypatch.setattr(readers, "BATCH_ROWS", 2)
    file = tmp_path / "f"
    rows = [{"c": "1"}, {"c": "2"}, {"c": "3", "why": "stop"}, {"c": "4", "why": None}, {"c": "5"}]
    if null:
        pq.write_table(pa.Table.from_pylist(rows, pa.schema([("c", pa.string()), ("why", pa.string())])), file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = [table.to_pydict().get("why") for table in readers.tables(file, ["c"], optional=["why"])]
    assert found == [[None, None] if null else None, ["stop", None], [None]]
    assert [t.column_names for t in readers.tables(file, ["c"], optional=["none"])] == [["c"]] * 3


def test_a_column_of_nothing_but_nulls_is_optional_only(tmp_path: Path) -> None:
    file = tmp_path / "f.parquet"
    pq.write_table(pa.table({"completion": ["a"], "why": pa.nulls(1)}), file)
    (table,) = readers.tables(file, ["completion"], optional=["why"])
    assert table.to_pydict() == {"completion": ["a"], "why": [None]}
    with pytest.raises(InputError, match="why holds null, not strings"):
        list(readers.tables(file, ["why"]))


def given(file: Path) -> Dataset:
    return Dataset(path=str(file), content="v1")


def test_given_rows_are_all_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "given.parquet"
    schema = pa.schema([("prompt", pa.string()), ("completion", pa.string())])
    pq.write_table(pa.Table.from_pylist([{"prompt": "a", "completion": "b"}] * 3, schema), file)
    assert given(file).read(["prompt", "completion"]).num_rows == 3
    monkeypatch.setattr(limits, "ROWS_BYTES", 10)
    with pytest.raises(InputError, match=r"given.parquet holds more than the 10 bytes"):
        given(file).read(["prompt", "completion"])
    pq.write_table(schema.empty_table(), file)
    with pytest.raises(InputError, match=r"given.parquet holds no rows"):
        given(file).read(["prompt", "completion"])
    file.write_text("\n\n")
    with pytest.raises(InputError, match=r"given.parquet holds no rows"):
        given(file).read(["prompt", "completion"])
    monkeypatch.undo()
    pq.write_table(pa.Table.from_pylist([{"prompt": "a", "completion": "b"}, {"prompt": "a"}], schema), file)
    with pytest.raises(InputError, match=r"given.parquet: row 2 has no completion"):
        given(file).read(["prompt", "completion"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"path": ""}, "at least 1 character"),
        ({"path": "", "content": "a"}, "at least 1 character"),
        ({"repo": "", "revision": "a" * 40}, "a repository of the hub"),
        ({"repo": "./data", "revision": "a" * 40}, "a repository of the hub"),
        ({"repo": "../data", "revision": "a" * 40}, "a repository of the hub"),
        ({"repo": "/etc/data", "revision": "a" * 40}, "a repository of the hub"),
        ({"repo": "a/b/c", "revision": "a" * 40}, "a repository of the hub"),
        ({"repo": "a/b@main", "revision": "a" * 40}, "a repository of the hub"),
        ({"repo": "hf://datasets/a", "revision": "a" * 40}, "a repository of the hub"),
        ({"repo": "json", "revision": "a" * 40}, "with its owner"),
        ({"repo": "buckets/a", "revision": "a" * 40}, "with its owner"),
        ({"repo": "a/b", "revision": "main"}, "40 hex digits"),
    ],
)
def test_a_source_is_a_repository_of_the_hub_or_a_path(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Dataset(**settings)


@pytest.mark.parametrize("repo", ["openai/gsm8k", "Some-One/a_b.c-1"])
def test_repositories_that_may_be(repo: str) -> None:
    assert Dataset(repo=repo, revision="a" * 40).repo == repo
