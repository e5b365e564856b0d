"""Reads a data set in one of three forms (prompt and completion, messages, plain text) and draws rows from it.

Memory does not grow with the file: of every piece that is read, only rows that may be drawn are kept.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import InputError
from pipeline.core.parquet import Unreadable, open_parquet
from pipeline.core.readers import records, tables
from pipeline.core.sources import Dataset

Form: TypeAlias = Literal["prompt and completion", "messages", "plain text"]
COLUMNS: Mapping[Form, Sequence[str]] = {
    "prompt and completion": ("prompt", "completion"),
    "messages": ("messages",),
    "plain text": ("text",),
}
ROW = pa.schema([("index", pa.int64()), ("prompt", pa.string()), ("completion", pa.string())])
PIECE = 10_000  # rows of messages that are decoded at a time
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Drawn:
    """Rows drawn from a file or another table. rows: ROW, in random order; index: their number in the file, from 0.

    total: rows of the file. without_answer: rows whose last message is not the assistant's; they are never drawn.
    digest: "sha256:…" of the file, or "commit:…" of a repository.
    """

    rows: pa.Table
    total: int
    without_answer: int
    form: Form
    digest: str


def draw(file: Path, count: int, seed: int) -> Drawn:
    """`count` random rows of a JSONL or Parquet file, or all of them if it has no more.

    Raises InputError naming the file, and the line of a JSONL file, for anything but a data set in one of the forms.
    """
    form = form_of(file)
    return _drawn(_pieces(file, form), count, seed, str(file), form, _sha256(file))


def draw_from_hub(dataset: Dataset, count: int, seed: int) -> Drawn:
    """The same from a data set of the hub."""
    where, digest = f"{dataset.repo} at {dataset.revision}", f"commit:{dataset.revision}"
    found = dataset.pieces(PIECE)
    first = next(found, None)
    if first is None:
        raise InputError(f"{where} holds no rows")
    form = _form(first.column_names, where)
    return _drawn(_turns(chain([first], found), form, where), count, seed, where, form, digest)


def _drawn(pieces: Iterable[pa.Table], count: int, seed: int, where: str, form: Form, digest: str) -> Drawn:
    """Rows drawn from tables with a prompt and a completion."""
    kept, keys = ROW.empty_table(), np.empty(0)
    total = without = 0
    for number, piece in enumerate(pieces):
        if piece["prompt"].null_count:
            row = total + pc.index(piece["prompt"].is_null(), True).as_py() + 1
            raise InputError(f"{where}: row {row} has no prompt; write an empty one if there was none")
        numbered = piece.add_column(0, "index", pa.array(np.arange(total, total + len(piece))))
        total += len(piece)
        answered = numbered.filter(numbered["completion"].is_valid()).cast(ROW)
        without += len(piece) - len(answered)
        drawn = np.random.default_rng([seed, number]).random(len(answered))
        keys = np.concatenate([keys, drawn])
        first = np.argsort(keys, kind="stable")[:count]
        kept = pa.concat_tables([kept, answered]).take(pa.array(first)).combine_chunks()
        keys = keys[first]
    if not kept.num_rows:
        raise InputError(f"{where} holds no {'rows' if not total else 'row with an answer of the assistant'}")
    return Drawn(kept, total, without, form, digest)


def drawn_from(table: pa.Table, count: int, seed: int, digest: str) -> Drawn:
    """The same from a table with a prompt and a completion that is in memory."""
    order = np.random.default_rng(seed).permutation(table.num_rows)[:count]
    columns = [pa.array(order), table["prompt"].take(pa.array(order)), table["completion"].take(pa.array(order))]
    rows = pa.table(columns, schema=ROW).combine_chunks()
    return Drawn(rows, table.num_rows, 0, "prompt and completion", digest)


def form_of(file: Path) -> Form:
    """The form of a file, by the columns of a Parquet file or of the first row of a JSONL file."""
    return _form(_names(file), str(file))


def _form(names: Iterable[str], where: str) -> Form:
    for form, columns in COLUMNS.items():
        if set(columns) <= set(names):
            return form
    raise InputError(
        f"{where} has the columns {', '.join(sorted(names)) or 'none'}; a data set has prompt and completion, or "
        "messages, or text"
    )


def _names(file: Path) -> set[str]:
    if not file.is_file():
        raise InputError(f"there is no file {file}")
    with file.open("rb") as opened:
        is_parquet = opened.read(4) == b"PAR1"
    if not is_parquet:
        first = next(records(file), None)
        if first is None:
            raise InputError(f"{file} holds no rows")
        return set(first[1])
    try:
        with open_parquet(file) as parquet:
            return set(parquet.schema_arrow.names)
    except Unreadable as error:
        raise InputError(f"{file} {error}") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} is a damaged Parquet file: {error}") from None


def _pieces(file: Path, form: Form) -> Iterator[pa.Table]:
    """Tables with a prompt and a completion; the completion of a row without an answer is null."""
    if form == "messages":
        yield from _conversations(file)
        return
    for table in tables(file, COLUMNS[form]):
        if form == "plain text":
            yield pa.table({"prompt": pa.array([""] * len(table), pa.string()), "completion": table["text"]})
        else:
            yield table


def _turns(pieces: Iterable[pa.Table], form: Form, where: str) -> Iterator[pa.Table]:
    """Tables of a data set in a form, as those of _pieces."""
    row = 0
    for piece in pieces:
        if form == "messages":
            values = piece["messages"].to_pylist()
            turns = [_turn(value, f"{where}: row {number}") for number, value in enumerate(values, row + 1)]
            yield _table([prompt for prompt, _ in turns], [completion for _, completion in turns])
        else:
            texts = {name: _texts(piece, name, where) for name in COLUMNS[form]}
            prompts = texts.get("prompt", pa.array([""] * len(piece), pa.string()))
            yield pa.table({"prompt": prompts, "completion": texts[COLUMNS[form][-1]]})
        row += len(piece)


def _texts(piece: pa.Table, name: str, where: str) -> pa.ChunkedArray:
    kind = piece.schema.field(name).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InputError(f"{where}: the column {name} holds {kind}, not strings")
    return piece[name].cast(pa.string())


def _conversations(file: Path) -> Iterator[pa.Table]:
    prompts: list[str | None] = []
    completions: list[str | None] = []
    for where, messages in _messages(file):
        prompt, completion = _turn(messages, where)
        prompts.append(prompt)
        completions.append(completion)
        if len(prompts) == PIECE:
            yield _table(prompts, completions)
            prompts, completions = [], []
    if prompts:
        yield _table(prompts, completions)


def _table(prompts: list[str | None], completions: list[str | None]) -> pa.Table:
    return pa.table({"prompt": pa.array(prompts, pa.string()), "completion": pa.array(completions, pa.string())})


def _messages(file: Path) -> Iterator[tuple[str, Any]]:
    """(place, value of the column messages) of every row."""
    with file.open("rb") as opened:
        is_parquet = opened.read(4) == b"PAR1"
    if not is_parquet:
        yield from ((where, row.get("messages")) for where, row in records(file))
        return
    try:
        with open_parquet(file) as parquet:
            number = 0
            for batch in parquet.iter_batches(PIECE, columns=["messages"]):
                for value in batch.column(0).to_pylist():
                    number += 1
                    yield f"{file}: row {number}", value
    except Unreadable as error:
        raise InputError(f"{file} {error}") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} is a damaged Parquet file: {error}") from None


def _turn(messages: Any, where: str) -> tuple[str, str | None]:
    """The last turn: everything before the assistant's last message, and that message; None if there is none."""
    if not isinstance(messages, list) or not all(_is_message(message) for message in messages):
        raise InputError(f"{where}: messages is no list of objects with a role and a content that are strings")
    if not messages or messages[-1]["role"] != "assistant":
        return "", None
    return "\n\n".join(message["content"] for message in messages[:-1]), messages[-1]["content"]


def _is_message(message: Any) -> bool:
    return isinstance(message, dict) and all(isinstance(message.get(name), str) for name in ("role", "content"))


def _sha256(file: Path) -> str:
    found = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(READ_BYTES):
            found.update(piece)
    return f"sha256:{found.hexdigest()}"
