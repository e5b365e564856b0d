"""Artifacts: they exist when their manifest does, name where they came from, and notice every changed byte."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import pickle
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.core import errors
from pipeline.core.errors import ArtifactError
from pipeline.store import Store, artifact, open_store
from pipeline.store.local_cache import local_folder
from pipeline.store.step import Step, step_id

TABLE = pa.table({"n": [1, 2, 3]})


def step(kind: str = "base", name: str = "one", **inputs: str) -> Step:
    return Step(kind, name, step_id(kind, 1, {"name": name}, inputs), {"name": name}, inputs)


def files_under(store: Store) -> set[str]:
    return {entry.path for entry in store.files("")}


def made(store: Store, of: Step) -> artifact.Manifest:
    contents = {"rows.parquet": TABLE, "notes/a.txt": b"hello"}
    record = artifact.finish_unit(store, of, "all", contents, {"rows": 3}, time.time() - 2)
    return artifact.commit(store, of, [record], record["results"])


def test_it_exists_only_once_it_is_committed(store: Store) -> None:
    of = step()
    artifact.write_files(store, of.path, {"rows.parquet": TABLE})
    assert artifact.load(store, of.path) is None
    with pytest.raises(ArtifactError, match="there is no finished artifact"):
        artifact.require(store, of.path)
    made(store, of)
    assert artifact.load(store, of.path) is not None


def test_the_manifest_lists_every_file_with_bytes_digest_and_rows(store: Store) -> None:
    manifest = made(store, step())
    assert [(file.path, file.rows) for file in manifest.files] == [("notes/a.txt", None), ("rows.parquet", 3)]
    for file in manifest.files:
        content = store.read(f"{manifest.path}/{file.path}")
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert artifact.read_table(store, manifest, "rows.parquet") == TABLE
    assert artifact.read(store, manifest, "notes/a.txt") == b"hello"


def test_the_manifest_says_what_made_it_and_from_what(store: Store) -> None:
    base = made(store, step())
    child = made(store, step("teacher", "two", base=base.path))
    assert child.input("base") == base.path
    digest = hashlib.sha256(store.read(f"{base.path}/manifest.json")).hexdigest()
    assert child.inputs["base"]["manifest"] == digest == base.digest
    assert (child.kind, child.settings, child.results) == ("teacher", {"name": "two"}, {"rows": 3})
    assert child.produced["seconds"] == pytest.approx(2, abs=1)
    assert child.produced["versions"]["pyarrow"] == pa.__version__
    assert artifact.require(store, child.path) == child


def test_no_artifact_is_committed_on_inputs_that_are_not(store: Store) -> None:
    with pytest.raises(ArtifactError, match="there is no finished artifact base/missing-000000000000"):
        made(store, step("teacher", base="base/missing-000000000000"))


def test_tables_can_be_read_by_others_and_in_part(store: Store) -> None:
    of = step()
    wide = pa.table({"n": [1], "m": ["x"]})
    record = artifact.finish_unit(store, of, "u", {"t.parquet": wide}, {}, 0.0)
    manifest = artifact.commit(store, of, [record], {})
    assert pq.read_table(store.folder / f"{of.path}/t.parquet").to_pylist() == [{"n": 1, "m": "x"}]
    assert artifact.read_table(store, manifest, "t.parquet", ["m"]).column_names == ["m"]


def test_a_second_attempt_with_the_same_bytes_counts_what_is_there(store: Store) -> None:
    first = artifact.write_files(store, "base/x", {"a": b"one", "b": b"two"})
    assert artifact.write_files(store, "base/x", {"a": b"one", "b": b"two"}) == first
    assert files_under(store) == {"base/x/a", "base/x/b"}


def test_the_files_of_a_unit_are_all_of_one_attempt(store: Store) -> None:
    store.create("base/x/model/a", b"same")
    store.create("base/x/model/b", b"left by an attempt that died")
    files = artifact.write_files(store, "base/x", {"model/a": b"same", "model/b": b"ours", "model/c": b"ours"})
    assert [file.path for file in files] == ["model/a", "model/b", "model/c"]
    assert [file.place for file in files] == [f"attempt-2/model/{name}" for name in "abc"]
    assert [store.read(f"base/x/{file.place}") for file in files] == [b"same", b"ours", b"ours"]
    assert store.read("base/x/model/b") == b"left by an attempt that died"


def test_an_artifact_of_a_later_attempt_reads_like_any_other(store: Store) -> None:
    of = step()
    store.create(f"{of.path}/rows.parquet", b"half a thought")
    manifest = made(store, of)
    assert artifact.read_table(store, manifest, "rows.parquet") == TABLE
    assert (local_folder(store, of.path, manifest.files, "notes") / "a.txt").read_bytes() == b"hello"


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    attempts=st.lists(st.tuples(st.binary(max_size=1), st.binary(max_size=1)), min_size=1, max_size=4),
    deaths=st.lists(st.integers(0, 2), max_size=4),
)
def test_whoever_dies_wherever_each_attempt_finds_its_own_files(
    attempts: list[tuple[bytes, bytes]], deaths: list[int]
) -> None:
    """Attempts that die after `deaths` files, then one that does not: what it describes is its own."""
    with tempfile.TemporaryDirectory() as folder:
        place = open_store(folder)
        described = []
        for number, (a, b) in enumerate(attempts):
            mortal = Mortal(place, deaths[number] if number < len(deaths) else 99)
            with contextlib.suppress(Death):
                described.append((artifact.write_files(mortal, "x", {"a": a, "b": b}), {"a": a, "b": b}))
        for files, contents in described:
            assert {file.path: place.read(f"x/{file.place}") for file in files} == contents
            assert len({file.attempt for file in files}) == 1


WRITERS = 2


@pytest.mark.slow
@hypothesis_settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, WRITERS - 1), max_size=30), st.booleans())
def test_in_any_interleaving_two_writers_and_a_reader_see_one_artifact(schedule: list[int], same: bool) -> None:
    """The reader looks after every single operation of either writer."""
    with tempfile.TemporaryDirectory() as folder:
        place, of = open_store(folder), step()
        committed: list[artifact.Manifest] = []

        def write(who: int, store: Store) -> None:
            said = b"both" if same else bytes([who])
            record = artifact.finish_unit(store, of, "u", {"a": b"same", "b": said, "c": said}, {"who": who}, 0.0)
            committed.append(artifact.commit(store, of, [record], record["results"]))

        seen: list[artifact.Manifest] = []

        def look() -> None:
            manifest = artifact.load(place, of.path)
            if manifest:
                seen.append(manifest)
                said = {artifact.read(place, manifest, name) for name in "bc"}
                assert said == ({b"both"} if same else {bytes([manifest.results["who"]])})

        interleave(schedule, place, [partial(write, who) for who in range(WRITERS)], look)
        assert len(committed) == WRITERS
        assert all(manifest == committed[0] for manifest in committed + seen)


def interleave(
    schedule: list[int], place: Store, writers: list[Callable[[Store], None]], look: Callable[[], None]
) -> None:
    """Run the writers in threads that take turns, one store operation a turn: as scheduled, and then in order."""
    stores = [Stepped(place) for _ in writers]
    threads = [threading.Thread(target=write, args=(own,)) for write, own in zip(writers, stores, strict=True)]
    for thread in threads:
        thread.start()
    turns = itertools.chain(schedule, itertools.cycle(range(len(writers))))
    while any(thread.is_alive() for thread in threads):
        who = next(turns)
        stores[who].turn.release()
        while not stores[who].done.acquire(timeout=0.005) and threads[who].is_alive():
            pass
        look()
    for thread in threads:
        thread.join()


class Stepped:
    """A store whose every operation waits for its turn."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.turn = threading.Semaphore(0)
        self.done = threading.Semaphore(0)

    def create(self, path: str, content: bytes | Path) -> bool:
        self.turn.acquire()
        try:
            return self._store.create(path, content)
        finally:
            self.done.release()

    def read(self, path: str) -> bytes:
        self.turn.acquire()
        try:
            return self._store.read(path)
        finally:
            self.done.release()


class Death(BaseException):
    pass


class Mortal:
    """A store whose user dies before the n-th creation."""

    def __init__(self, store: Store, lives: int) -> None:
        self._store = store
        self._lives = lives

    def create(self, path: str, content: bytes | Path) -> bool:
        if self._lives == 0:
            raise Death
        self._lives -= 1
        return self._store.create(path, content)


def test_a_late_writer_of_a_unit_or_an_artifact_gets_what_is_there(store: Store) -> None:
    of = step()
    first = artifact.finish_unit(store, of, "shard", {"f": b"1"}, {"who": "first"}, 0.0)
    assert artifact.finish_unit(store, of, "shard", {"f": b"2"}, {"who": "second"}, 0.0) == first
    assert artifact.unit(store, of.path, "shard") == first
    assert artifact.unit(store, of.path, "another") is None
    committed = artifact.commit(store, of, [first], {"who": "first"})
    again = artifact.commit(store, of, [], {"who": "second"})
    assert again == committed
    assert again.results == {"who": "first"}


def test_two_writers_and_a_reader_agree_on_one_artifact(store: Store) -> None:
    for round_ in range(10):
        of = step(name=f"r{round_}")
        start = threading.Barrier(3)
        results: list[artifact.Manifest] = []
        read: list[pa.Table] = []

        def write(who: int, of: Step = of, start: threading.Barrier = start, results: list = results) -> None:
            start.wait()
            table = pa.table({"who": [who] * 1000})
            record = artifact.finish_unit(store, of, "u", {"t.parquet": table}, {"who": who}, 0.0)
            results.append(artifact.commit(store, of, [record], record["results"]))

        def look(of: Step = of, start: threading.Barrier = start, read: list = read) -> None:
            start.wait()
            while not read:
                manifest = artifact.load(store, of.path)
                if manifest:
                    read.append(artifact.read_table(store, manifest, "t.parquet"))

        threads = [threading.Thread(target=write, args=(who,)) for who in (1, 2)] + [threading.Thread(target=look)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results[0] == results[1]
        assert set(read[0]["who"].to_pylist()) == {results[0].results["who"]}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"files": [{"path": 1}]}', b"\xff", b"null"])
def test_a_damaged_manifest_is_told_apart_from_a_missing_one(store: Store, content: bytes) -> None:
    manifest = made(store, step())
    store.replace(f"{manifest.path}/manifest.json", content)
    with pytest.raises(ArtifactError, match=r"manifest.json is damaged"):
        artifact.load(store, manifest.path)


def test_a_changed_or_missing_file_is_noticed(store: Store) -> None:
    manifest = made(store, step())
    store.replace(f"{manifest.path}/notes/a.txt", b"hellO")
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        artifact.read(store, manifest, "notes/a.txt")
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        local_folder(store, manifest.path, manifest.files, "notes")
    (store.folder / f"{manifest.path}/rows.parquet").unlink()
    with pytest.raises(ArtifactError, match="is missing though its manifest names it"):
        artifact.read_table(store, manifest, "rows.parquet")
    with pytest.raises(ArtifactError, match="names no file other"):
        artifact.read(store, manifest, "other")


def test_files_that_the_manifest_does_not_name_do_not_exist(store: Store) -> None:
    manifest = made(store, step())
    store.create(f"{manifest.path}/notes/stray.txt", b"left by a crash")
    with pytest.raises(ArtifactError, match="names no file"):
        artifact.read(store, manifest, "notes/stray.txt")


def test_a_folder_is_added_with_everything_below_it(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "b").write_bytes(b"b")
    (source / "deep" / "a").write_bytes(b"aa")
    files = artifact.write_files(store, "base/x", artifact.contents_of(tmp_path))
    assert [(file.path, file.bytes) for file in files] == [("source/b", 1), ("source/deep/a", 2)]
    assert (local_folder(store, "base/x", files, "source") / "deep" / "a").read_bytes() == b"aa"
    with pytest.raises(ArtifactError, match="base/x has no adapter"):
        local_folder(store, "base/x", files, "adapter")


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_every_flipped_bit_of_a_manifest_or_a_record_is_noticed(at: int, bit: int) -> None:
    content = artifact.with_checksum({"files": [], "results": {"loss": 0.25, "names": ["owl", "é"]}})
    flipped = bytearray(content)
    flipped[at % len(content)] ^= 1 << bit
    assert artifact.without_checksum(content, "here")["results"]["loss"] == 0.25
    with pytest.raises(ArtifactError, match="here is damaged"):
        artifact.without_checksum(bytes(flipped), "here")


def test_a_draft_is_what_would_be_committed_and_commits_nothing(store: Store) -> None:
    of = step()
    record = artifact.finish_unit(store, of, "u", {"f": b"1"}, {}, 5.0)
    draft = artifact.build_manifest(store, of, [record], {"x": 1})
    assert artifact.load(store, of.path) is None
    assert dataclasses.replace(artifact.commit(store, of, [record], {"x": 1}), digest="") == draft


def test_manifests_are_plain_json_that_others_can_read(store: Store) -> None:
    manifest = made(store, step())
    fields = json.loads(store.read(f"{manifest.path}/manifest.json"))
    assert fields["files"][0]["path"] == "notes/a.txt"
    assert "digest" not in fields


def test_a_root_can_be_moved(store: Store, tmp_path: Path) -> None:
    manifest = made(store, step())
    shutil.move(store.folder, tmp_path / "elsewhere")
    moved = open_store(tmp_path / "elsewhere")
    assert artifact.read_table(moved, artifact.require(moved, manifest.path), "rows.parquet") == TABLE


ALL_ERRORS = [error for error in vars(errors).values() if isinstance(error, type)]


@pytest.mark.parametrize("error", ALL_ERRORS)
def test_errors_cross_processes_whole(error: type[errors.UndertowError]) -> None:
    copy = pickle.loads(pickle.dumps(error("what, where, and what to do")))
    assert type(copy) is error
    assert str(copy) == "what, where, and what to do"
    assert copy.exit_code == (2 if issubclass(error, errors.UserError) else 1)
