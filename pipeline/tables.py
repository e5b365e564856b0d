"""Other people's files as Arrow: JSONL and Parquet, a piece at a time."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from pipeline.errors import InputError
from pipeline.parquet import Unreadable, open_parquet

BATCH_ROWS = 100_000


def batches(file: Path, column: str) -> Iterator[pa.Array]:
    """One string column of a JSONL or Parquet file, in order, in arrays of at most BATCH_ROWS.

    Raises InputError naming the file, and the line of a JSONL file, for anything that is not that.
    """
    if not file.is_file():
        raise InputError(f"there is no file {file}")
    with file.open("rb") as opened:
        is_parquet = opened.read(4) == b"PAR1"
    return _parquet(file, column) if is_parquet else _jsonl(file, column)


def tables(file: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Several string columns, in tables of at most BATCH_ROWS. Raises as `batches` does."""
    for parts in zip(*(batches(file, column) for column in columns), strict=True):
        yield pa.table(dict(zip(columns, parts, strict=True)))


def _parquet(file: Path, column: str) -> Iterator[pa.Array]:
    try:
        parquet = open_parquet(file)
    except Unreadable as error:
        raise InputError(f"{file} {error}") from None
    if column not in parquet.schema_arrow.names:
        raise InputError(f"{file} has no column {column}; it has {', '.join(parquet.schema_arrow.names)}")
    kind = parquet.schema_arrow.field(column).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)):
        raise InputError(f"{file}: the column {column} holds {kind}, not strings")
    try:
        for batch in parquet.iter_batches(BATCH_ROWS, columns=[column]):
            texts = batch.column(0).cast(pa.string())
            texts.validate(full=True)  # that it is UTF-8
            yield texts
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} is a damaged Parquet file: {error}") from None


def _jsonl(file: Path, column: str) -> Iterator[pa.Array]:
    texts: list[str] = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                texts.append(_text(line, column, f"{file}:{number}"))
            if len(texts) == BATCH_ROWS:
                yield pa.array(texts, pa.string())
                texts = []
    if texts:
        yield pa.array(texts, pa.string())


def _text(line: bytes, column: str, where: str) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not a line of JSON: {error}") from None
    if not isinstance(row, dict) or column not in row:
        raise InputError(f"{where}: no column {column} in this row")
    text = row[column]
    if not isinstance(text, str):
        raise InputError(f"{where}: {column} is {type(text).__name__}, not a string")
    # JSON can name half a surrogate pair, which no UTF-8 file can hold; "?" keeps the row rejected.
    return text.encode("utf-8", "replace").decode()
