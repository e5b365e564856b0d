"""Reads external JSONL and Parquet files as Arrow tables, piece by piece and within the limits."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.core import limits
from pipeline.core.errors import InputError
from pipeline.core.parquet import Unreadable, open_parquet

BATCH_ROWS = 100_000

Row = dict[str, Any]


def batches(file: Path, column: str) -> Iterator[pa.Array]:
    """One string column, in the pieces that `tables` yields."""
    for table in tables(file, [column]):
        yield table[column].combine_chunks()


def tables(file: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[pa.Table]:
    """String columns of a JSONL or Parquet file, in order, in tables of at most BATCH_ROWS and limits.BATCH_BYTES.

    optional: columns that may hold nulls; each is present from the first table on in which a row has it. Other columns
    hold nulls only where a Parquet file does.

    Raises InputError naming the file, and the line of a JSONL file, for any other content.
    """
    if not file.is_file():
        raise InputError(f"there is no file {file}")
    with file.open("rb") as opened:
        is_parquet = opened.read(4) == b"PAR1"
    return (_parquet if is_parquet else _jsonl)(file, columns, optional)


def _parquet(file: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[pa.Table]:
    try:
        with open_parquet(file) as parquet:
            schema, metadata = parquet.schema_arrow, parquet.metadata
        wanted = [*columns, *(name for name in optional if name in schema.names)]
        _require_strings(file, schema, columns, wanted)
        rows_at_once = _rows_at_once(file, metadata, wanted)
        # Values stay dictionary codes until their lengths are checked: a file of a few bytes can repeat one long
        # string a million times.
        coded = [name for name in wanted if not pa.types.is_null(schema.field(name).type)]
        expanded = 0
        with open_parquet(file, coded) as parquet:
            for batch in parquet.iter_batches(rows_at_once, columns=wanted):
                lengths = np.sum([_lengths(file, name, batch.column(name)) for name in wanted], axis=0)
                expanded += int(lengths.sum())
                _require_sane(file, expanded)
                for start, stop in _pieces(lengths):
                    piece = batch.slice(start, stop - start)
                    yield pa.table({name: _decoded(file, name, piece.column(name)) for name in wanted})
    except Unreadable as error:
        raise InputError(f"{file} {error}") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} is a damaged Parquet file: {error}") from None


def _require_strings(file: Path, schema: pa.Schema, columns: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        found = schema.names.count(name)
        if not found:
            raise InputError(f"{file} has no column {name}; it has {', '.join(schema.names)}")
        if found > 1:
            raise InputError(f"{file} has {found} columns named {name}: keep one of them")
        kind = schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        is_empty = pa.types.is_null(kind) and name not in columns
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or is_empty):
            raise InputError(f"{file}: the column {name} holds {kind}, not strings")


def _rows_at_once(file: Path, metadata: pq.FileMetaData, wanted: Sequence[str]) -> int:
    """How many rows fit into a batch, by the mean row size of the row group with the largest rows."""
    mean = size = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        chunks = [group.column(number) for number in range(group.num_columns)]
        own = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in wanted)
        mean, size = max(mean, own // max(group.num_rows, 1)), size + own
    _require_sane(file, size)
    return max(1, min(BATCH_ROWS, limits.BATCH_BYTES // (mean + 1)))


def _require_sane(file: Path, expanded: int) -> None:
    """expanded: bytes of the values decoded so far. Raises InputError for a decompression bomb."""
    size = file.stat().st_size
    if expanded > limits.GIB and expanded > limits.BLOWN_UP * size:
        raise InputError(
            f"{file}: {size:,} bytes become at least {expanded:,}, more than {limits.BLOWN_UP} times as many, like a "
            "decompression bomb. Write the file again without the repetitions"
        )


def _lengths(file: Path, name: str, column: pa.Array) -> NDArray[np.int64]:
    """Bytes of each value, (N,); 0 for values that are not dictionary codes."""
    if not pa.types.is_dictionary(column.type):
        return np.zeros(len(column), np.int64)
    lengths = pc.binary_length(column.dictionary).cast(pa.int64()).take(column.indices)
    found: NDArray[np.int64] = pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)
    if len(found) and found.max() > limits.VALUE_BYTES:
        raise InputError(
            f"{file}: a string in {name} has {found.max():,} bytes, above the {limits.VALUE_BYTES:,} allowed"
        )
    return found


def _pieces(lengths: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """(start, stop) of pieces of at most limits.BATCH_BYTES; a larger row is a piece of its own."""
    ends, start = np.cumsum(lengths), 0
    while start < len(lengths):
        before = ends[start] - lengths[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + limits.BATCH_BYTES, side="right")))
        yield start, stop
        start = stop


def _decoded(file: Path, name: str, column: pa.Array) -> pa.Array:
    texts = column.cast(pa.string())
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError(f"{file}: the column {name} holds bytes that are not UTF-8: {error}") from None
    return texts


def _jsonl(file: Path, columns: Sequence[str], optional: Sequence[str]) -> Iterator[pa.Table]:
    seen: set[str] = set()  # optional columns that a row has had so far
    rows: list[Row] = []
    size = 0
    for where, line in _lines(file):
        rows.append(_row(line, columns, optional, where))
        size += len(line)
        if len(rows) == BATCH_ROWS or size >= limits.BATCH_BYTES:
            yield _table(rows, columns, optional, seen)
            rows, size = [], 0
    if rows:
        yield _table(rows, columns, optional, seen)


def _lines(file: Path) -> Iterator[tuple[str, bytes]]:
    """(FILE:LINE, content) of each line that is not blank."""
    number = 0
    with file.open("rb") as opened:
        while line := opened.readline(limits.VALUE_BYTES + 1):
            number += 1
            if len(line) > limits.VALUE_BYTES:
                raise InputError(f"{file}:{number}: a line of more than the {limits.VALUE_BYTES:,} bytes allowed")
            if line.strip():
                yield f"{file}:{number}", line


def _table(rows: list[Row], columns: Sequence[str], optional: Sequence[str], seen: set[str]) -> pa.Table:
    seen.update(name for name in optional if any(name in row for row in rows))
    names = [*columns, *(name for name in optional if name in seen)]
    return pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in names})


def records(file: Path) -> Iterator[tuple[str, Row]]:
    """(FILE:LINE, object) of each line of a JSONL file that is not blank. Raises InputError if a line is no object."""
    for where, line in _lines(file):
        row = _decoded_line(line, where)
        if not isinstance(row, dict):
            raise InputError(f"{where}: not an object of JSON")
        yield where, row


def _decoded_line(line: bytes, where: str) -> Any:
    try:
        return DECODER.decode(line.decode(json.detect_encoding(line), "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not a line of JSON: {error}") from None


def _row(line: bytes, columns: Sequence[str], optional: Sequence[str], where: str) -> Row:
    row = _decoded_line(line, where)
    absent = [name for name in columns if not isinstance(row, dict) or name not in row]
    if absent:
        raise InputError(f"{where}: no column {absent[0]} in this row")
    own = {name: row[name] for name in (*columns, *optional) if name in row}
    return {name: _text(value, where, name, may_be_null=name in optional) for name, value in own.items()}


def _text(value: object, where: str, name: str, *, may_be_null: bool) -> str | None:
    if value is None and may_be_null:
        return None
    if not isinstance(value, str):
        raise InputError(f"{where}: {name} is {type(value).__name__}, not a string")
    # JSON can hold a lone surrogate, which UTF-8 cannot encode; the "?" in its place keeps the row rejected.
    return value.encode("utf-8", "replace").decode()


def _distinct(pairs: Iterable[tuple[str, Any]]) -> Row:
    row: Row = {}
    for name, value in pairs:
        if name in row:
            raise ValueError(f"{name} stands twice in one object")
        row[name] = value
    return row


DECODER = json.JSONDecoder(object_pairs_hook=_distinct)  # built once: json.loads would build one per line
