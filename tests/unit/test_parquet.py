"""Tables from elsewhere: no Arrow extension type is ever built, and what is no such table is told."""

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.conversations import draw
from pipeline.core.errors import ArtifactError, InputError
from pipeline.core.parquet import Unreadable, open_parquet
from pipeline.core.readers import tables
from pipeline.store import Store, artifact, schemas
from pipeline.store.step import Step, step_id

SCHEMAS = {name: schema for name, schema in vars(schemas).items() if isinstance(schema, pa.Schema)}
built: list[str] = []


class Planted(pa.ExtensionType):
    """As Ray Data's tensor types: what builds it from a file runs code that the file chose."""

    def __init__(self) -> None:
        super().__init__(pa.string(), "tests.planted")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> "Planted":
        built.append("ran")
        return cls()


@pytest.fixture
def planted() -> Iterator[pa.ExtensionArray]:
    pa.register_extension_type(Planted())
    built.clear()
    yield pa.ExtensionArray.from_storage(Planted(), pa.array(["x"]))
    pa.unregister_extension_type("tests.planted")


def as_parquet(table: pa.Table, **how: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **how)
    return sink.getvalue()


def stored(store: Store, kind: str, name: str, content: bytes | pa.Table, **settings: Any) -> artifact.Manifest:
    of = Step(kind, "planted", step_id(kind, 1, settings, {}), settings)
    record = artifact.finish_unit(store, of, "u", {name: content}, {}, time.time())
    return artifact.commit(store, of, [record], {})


@pytest.mark.parametrize("beside", ["completion", "another"])
def test_no_extension_type_of_a_given_file_is_built(planted: pa.ExtensionArray, tmp_path: Path, beside: str) -> None:
    file = tmp_path / "given.parquet"
    file.write_bytes(as_parquet(pa.table({"completion": ["a"], "prompt": ["b"]}).append_column(beside, planted)))
    with pytest.raises(InputError, match=r"given\.parquet has columns of Arrow extension types"):
        list(tables(file, ["prompt"]))
    assert built == []
    pq.ParquetFile(file)
    assert built, "the planted type does run where Arrow reads the file by itself"


def test_no_extension_type_beside_messages_is_built(planted: pa.ExtensionArray, tmp_path: Path) -> None:
    file = tmp_path / "given.parquet"
    rows = pa.table({"messages": [[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]]})
    file.write_bytes(as_parquet(rows.append_column("more", planted)))
    with pytest.raises(InputError, match=r"given\.parquet has columns of Arrow extension types"):
        draw(file, 5, seed=0)
    assert built == []


def test_no_extension_type_of_an_artifact_is_built(planted: pa.ExtensionArray, store: Store) -> None:
    table = pa.table({"index": [1], "prompt": ["p"], "source": ["s"]}).append_column("completion", planted)
    for kind, name in (("corpus", "rows.parquet"), ("base", "other.parquet")):
        manifest = stored(store, kind, name, as_parquet(table))
        with pytest.raises(ArtifactError, match=rf"{name} has columns of Arrow extension types"):
            artifact.read_table(store, manifest, name)
    assert built == []


def test_the_types_of_a_file_are_those_that_parquet_knows(planted: pa.ExtensionArray) -> None:
    """Whatever the Arrow schema says, once it is taken out nothing of it is left to be built."""
    content = as_parquet(pa.table({"a": planted})).replace(b"ARROW:schema", b"somethingels")
    assert open_parquet(content).read().to_pylist() == [{"a": "x"}]
    assert built == []


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@pytest.mark.parametrize("store_schema", [True, False])
def test_every_schema_of_ours_comes_back(schema: pa.Schema, store_schema: bool) -> None:
    content = as_parquet(schema.empty_table(), store_schema=store_schema)
    assert open_parquet(content).read().replace_schema_metadata().schema == schema


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop_columns("source"),
        lambda table: table.append_column("more", pa.array([1])),
        lambda table: table.select(["prompt", "index", "completion", "source"]),
        lambda table: table.set_column(0, "index", pa.array([1], pa.int32())),
        lambda table: table.append_column("prompt", pa.array(["twice"])),
    ],
)
def test_a_table_of_another_schema_is_refused_before_a_column_is_read(store: Store, change: Any) -> None:
    table = pa.Table.from_pylist([{"index": 1, "prompt": "p", "completion": "c", "source": "s"}], schemas.CORPUS)
    manifest = stored(store, "corpus", "rows.parquet", change(table))
    with pytest.raises(ArtifactError, match=r"rows\.parquet is no such table as undertow writes"):
        artifact.read_table(store, manifest, "rows.parquet", ["index"])


def test_given_rows_have_the_columns_that_were_asked_for(store: Store) -> None:
    good = stored(store, "dataset", "rows.parquet", pa.table({"a": ["x"], "b": ["y"]}), columns=["a", "b"])
    assert artifact.read_table(store, good, "rows.parquet").num_rows == 1
    bad = stored(store, "dataset", "rows.parquet", pa.table({"a": [1], "b": ["y"]}), columns=["a", "b"], v=2)
    with pytest.raises(ArtifactError, match="no such table"):
        artifact.read_table(store, bad, "rows.parquet")


def invalid_utf8() -> bytes:
    text = pa.StringArray.from_buffers(1, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe"))
    return as_parquet(pa.table({"completion": text}))


def test_text_that_is_not_utf8_is_told_with_the_files_name(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "given.parquet"
    file.write_bytes(invalid_utf8())
    with pytest.raises(InputError, match=r"given\.parquet: the column completion holds bytes that are not UTF-8"):
        list(tables(file, ["completion"]))
    manifest = stored(store, "base", "t.parquet", invalid_utf8())
    with pytest.raises(ArtifactError, match=r"t\.parquet is a damaged Parquet file: .*UTF8"):
        artifact.read_table(store, manifest, "t.parquet")


GOOD = as_parquet(pa.table({"a": [1, 2, 3]}))


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"PAR1PAR1PAR1", GOOD[:-1], GOOD[:40], GOOD[:-8] + b"\xff\xff\xff\xff" + GOOD[-4:], b"PAR1" * 9],
)
def test_what_is_no_parquet_file_is_unreadable(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="damaged Parquet file"):
        open_parquet(content)
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(Unreadable, match="damaged Parquet file"):
        open_parquet(tmp_path / "file")


def test_a_table_with_other_rows_than_its_manifest_says_is_told(store: Store) -> None:
    manifest = stored(store, "base", "t.parquet", pa.table({"a": [1, 2]}))
    short = artifact.File("t.parquet", manifest.files[0].bytes, manifest.files[0].sha256, 3)
    wrong = artifact.dataclasses.replace(manifest, files=[short])
    with pytest.raises(ArtifactError, match="has 2 rows and its manifest says 3"):
        artifact.read_table(store, wrong, "t.parquet")
