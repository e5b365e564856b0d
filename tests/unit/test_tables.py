"""Other people's files: JSONL and Parquet give the same strings, and a mistake names its line."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import tables
from pipeline.errors import InputError
from pipeline.tables import batches


def texts(file: Path) -> list[str | None]:
    return [text for batch in batches(file, "completion") for text in batch.to_pylist()]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=10), max_size=8), st.booleans())
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
    monkeypatch.setattr(tables, "BATCH_ROWS", 4)
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
