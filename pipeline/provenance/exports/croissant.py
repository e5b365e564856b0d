"""Croissant 1.1, with its vocabularies of responsible AI and provenance, of an artifact with Parquet files.

A record set stands for one file, since the library reads several at once only from an archive or a repository.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from pipeline.provenance.exports.libraries import library
from pipeline.provenance.exports.markdown import one_line
from pipeline.provenance.exports.subject import DATA, SMOKE_TEST, SOURCES, Subject
from pipeline.store import schemas
from pipeline.store.artifact import File
from pipeline.store.card import ROWS, SHARDED
from pipeline.store.step import Json

FILE = "croissant.json"
CROISSANT, RAI, PROV = (
    "http://mlcommons.org/croissant/1.1",
    "http://mlcommons.org/croissant/RAI/1.0",
    "http://www.w3.org/ns/prov#",
)
PARQUET = "application/x-parquet"
TYPES = (  # of columns -> name of the library's DataType
    (pa.types.is_boolean, "BOOL"),
    (pa.types.is_integer, "INTEGER"),
    (pa.types.is_floating, "FLOAT"),
    (pa.types.is_string, "TEXT"),
)


def export(subject: Subject) -> dict[str, str]:
    subject.require(DATA, "data sets")
    croissant = library("mlcroissant")
    with _without_advice():
        content = _Nodes(croissant, subject).metadata().to_json()
    content["@context"]["prov"] = PROV
    content |= {"conformsTo": [CROISSANT, RAI]} | _provenance(subject)
    return {FILE: json.dumps(content, indent=1, allow_nan=False) + "\n"}


@contextmanager
def _without_advice() -> Iterator[None]:
    """The library logs which recommended fields are missing: what a manifest does not hold, such as a licence."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


class _Nodes:
    """The nodes of a data set, in the library's classes. It checks them when they are built."""

    def __init__(self, croissant: Any, subject: Subject) -> None:
        self._classes = croissant
        self._context = croissant.Context(conforms_to=CROISSANT)
        self._subject = subject
        self._tables = [file for file in subject.made.files if file.rows]

    def metadata(self) -> Any:
        made = self._subject.made
        warning = f"{SMOKE_TEST} " if self._subject.smoke_test else ""
        return self._classes.Metadata(
            ctx=self._context,
            name=one_line(made.path),
            description=f"{warning}An artifact of kind {made.kind}, made by undertow. Its manifest has the SHA-256 "
            f"{made.digest}.",
            date_created=datetime.fromtimestamp(made.produced["ended"], UTC),
            distribution=[self._file(file) for file in self._tables],
            record_sets=list(self._record_sets()),
        )

    def _file(self, file: File) -> Any:
        return self._classes.FileObject(
            ctx=self._context,
            id=file.path,
            name=file.path,
            content_url=file.place,
            content_size=f"{file.bytes} B",
            encoding_formats=[PARQUET],
            sha256=file.sha256,
        )

    def _record_sets(self) -> Iterator[Any]:
        made = self._subject.made
        for file in self._tables:
            name = PurePosixPath(file.path).stem
            schema = schemas.expected(made.kind, file.path, made.settings)
            if schema is None:
                continue
            row = ROWS[made.kind].get(made.kind if made.kind in SHARDED else name, "as its columns say")
            yield self._classes.RecordSet(
                ctx=self._context,
                id=name,
                name=name,
                description=f"A record is {row}.",
                fields=[self._field(file, name, column) for column in schema],
            )

    def _field(self, file: File, record_set: str, column: pa.Field) -> Any:
        is_list = pa.types.is_list(column.type)
        kind = column.type.value_type if is_list else column.type
        shape = {"is_array": True, "array_shape": "-1"} if is_list else {}
        return self._classes.Field(
            ctx=self._context,
            id=f"{record_set}/{quote(column.name)}",
            name=f"{record_set}/{column.name}",
            data_types=[next(getattr(self._classes.DataType, name) for check, name in TYPES if check(kind))],
            source=self._classes.Source(
                ctx=self._context,
                file_object=file.path,
                extract=self._classes.Extract(ctx=self._context, column=column.name),
            ),
            **shape,
        )


def _provenance(subject: Subject) -> Json:
    """Names are relative to the root. Whether data from elsewhere is synthetic is not known, and so not said."""
    made = subject.made
    authors = subject.authors(made.path)
    started, ended = (datetime.fromtimestamp(made.produced[name], UTC).isoformat() for name in ("started", "ended"))
    activity: Json = {
        "@type": "prov:Activity",
        "prov:label": f"step {made.kind} of undertow",
        "prov:startedAtTime": started,
        "prov:endedAtTime": ended,
    }
    found: Json = {"prov:wasGeneratedBy": activity}
    if sources := subject.parents(made.path, *SOURCES):
        found["prov:wasDerivedFrom"] = [_reference(edge.parent) for edge in sources]
    if authors:
        found["rai:hasSyntheticData"] = True
        found["prov:wasAttributedTo"] = [_reference(edge.parent) for edge in authors]
    return found


def _reference(name: str) -> dict[str, str]:
    return {"@id": quote(name.encode(errors="backslashreplace"), safe="/:"), "prov:label": one_line(name)}
