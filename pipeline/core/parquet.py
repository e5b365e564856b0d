"""The only way to open a Parquet file. Columns get Parquet's own types, and no others.

A Parquet file may carry an Arrow schema in its footer. Reading that schema builds the extension types it names, and
some types run code when they are built: Ray Data's unpickle their metadata. So this module reads the footer, removes
that schema, and gives Arrow the rest.
"""

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_MAGIC = b"PAR1"
_SCHEMA, _IGNORED = b"ARROW:schema", b"ARROW-schema"  # same length, as strings in the footer are length-prefixed
_EXTENSION = b"ARROW:extension:name"


class Unreadable(Exception):
    """Not a Parquet file that undertow reads. The message continues the file's name: "is damaged: ..."."""


def open_parquet(source: Path | bytes, read_dictionary: Sequence[str] | None = None) -> pq.ParquetFile:
    """Open a local file, or the bytes of one. Raises Unreadable; reading columns raises pyarrow's own errors.

    read_dictionary: columns whose values stay dictionary codes.
    """
    try:
        opened = pa.BufferReader(source) if isinstance(source, bytes) else pa.OSFile(str(source))
        metadata = _metadata(opened)
        if _EXTENSION in _arrow_schema(metadata):
            raise Unreadable("has columns of Arrow extension types, which can run code; write it with plain columns")
        return pq.ParquetFile(
            opened, metadata=metadata, read_dictionary=read_dictionary, arrow_extensions_enabled=False
        )
    except (pa.ArrowException, OSError) as error:
        raise Unreadable(f"is a damaged Parquet file: {error}") from None


def _metadata(opened: pa.NativeFile) -> pq.FileMetaData:
    """The footer's metadata, without its Arrow schema."""
    size = opened.size()
    end = opened.read_at(8, max(0, size - 8))
    length = int.from_bytes(end[:4], "little")
    if end[4:] != _MAGIC or length > size - 12:
        raise Unreadable("is a damaged Parquet file: its footer is missing or cut off")
    footer = opened.read_at(length, size - 8 - length).replace(_SCHEMA, _IGNORED)
    alone = pa.BufferReader(_MAGIC + footer + end)
    return pq.ParquetFile(alone, arrow_extensions_enabled=False).metadata


def _arrow_schema(metadata: pq.FileMetaData) -> bytes:
    """The bytes of the removed Arrow schema; they are searched, never parsed."""
    try:
        return base64.b64decode((metadata.metadata or {}).get(_IGNORED, b""))
    except binascii.Error:
        return b""
