"""The S3 store against two servers of other people's: what is created once stays, and refusals are told at once."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.core.errors import ArtifactError, InputError, StoreError
from pipeline.store import Store, artifact, open_store
from pipeline.store.lease import collecting, running
from pipeline.store.local_cache import local_folder
from pipeline.store.removal import remove
from pipeline.store.root import mark
from tests.chaos import fake_study
from tests.chaos.crashes import Bench
from tests.chaos.proxy import FAULTS
from tests.chaos.servers import CREDENTIALS, SERVERS

PART_BYTES = 5 << 20  # the least that S3 takes
LARGE_BYTES = 2 * PART_BYTES + 1
CRASH_POINTS_APART = 251  # a prime, so that the sample meets every fault and every part of the study


@pytest.fixture(scope="module", params=SERVERS)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with Bench(request.param) as bench:
        yield bench


@pytest.fixture
def store(bench: Bench, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A root of its own, behind the proxy, which lets everything through until it is told otherwise."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", bench.proxied)
    monkeypatch.setenv("UNDERTOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("pipeline.store.s3.PART_BYTES", PART_BYTES)
    bench.begin(None, None)
    return open_store(f"s3://chaos/{re.sub(r'[^a-z0-9]+', '-', request.node.name)}/runs/")


def test_crash_points_leave_what_a_run_without_them_leaves(tmp_path: Path) -> None:
    """On one server; `make chaos` meets every point on both. Its processes are forked from one without threads."""
    command = [sys.executable, "-m", "tests.chaos.crashes", "--server", SERVERS[0], "--out", str(tmp_path / "tally")]
    done = subprocess.run([*command, "--every", str(CRASH_POINTS_APART)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    ended = json.loads((tmp_path / "tally").read_text())["ended"]
    assert len(ended) == len(FAULTS)
    assert sum(ended.values()) >= len(FAULTS) + 1


def test_a_study_that_is_nearly_done_reads_no_finished_row_again(bench: Bench) -> None:
    bench.begin(None, None)
    assert bench.spawn("nearly", fake_study.run).result() is True
    assert bench.spawn("nearly", _forget_one_answer, proxied=False).result() == 2
    bench.begin(None, None)
    assert bench.spawn("nearly", fake_study.run).result() is True
    asked = bench.state()["requests"]
    assert any(name.startswith("PUT answers/") for name in asked)
    assert not any(name.startswith(("GET completions/", "GET corpus/")) and "parquet" in name for name in asked)


def _forget_one_answer(root: str) -> int:
    """Remove the manifest and the unit record of one student's answers, as if neither had been written."""
    store = open_store(root)
    entries = [entry.path for entry in store.files("answers") if entry.path.endswith(".json") and "-to-" in entry.path]
    lost = [path for path in entries if path.startswith("/".join(entries[0].split("/")[:2]))]
    for path in lost:
        store.remove(path)
    return len(lost)


def test_the_first_writer_wins_and_a_late_one_changes_nothing(store: Store) -> None:
    assert store.create("a/file", b"first")
    assert store.create("a/file", b"first"), "the very same bytes count as written"
    assert not store.create("a/file", b"second")
    assert store.read("a/file") == b"first"
    assert store.exists("a/file")
    assert not store.exists("a")
    with pytest.raises(FileNotFoundError):
        store.read("a/other")


def test_large_files_go_by_parts_and_are_created_once_too(store: Store, tmp_path: Path) -> None:
    ours, theirs, copy = (tmp_path / name for name in ("ours", "theirs", "copy"))
    ours.write_bytes(os.urandom(LARGE_BYTES))
    theirs.write_bytes(os.urandom(LARGE_BYTES))
    assert store.create("large", ours)
    assert store.create("large", ours)
    assert not store.create("large", theirs)
    store.download("large", copy)
    assert copy.read_bytes() == ours.read_bytes()


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        ("POST runs/large uploads= #1", "lose"),
        ("PUT runs/large partNumber=1 #1", "drop"),
        ("POST runs/large #1", "drop"),
        ("POST runs/large #1", "lose"),
        ("POST runs/large #1", "409"),
    ],
)
def test_a_fault_in_an_upload_by_parts_is_waited_out(
    store: Store, bench: Bench, tmp_path: Path, request_: str, fault: str
) -> None:
    large, copy = tmp_path / "large", tmp_path / "copy"
    large.write_bytes(os.urandom(LARGE_BYTES))
    bench.begin(request_, fault)
    assert store.create("large", large)
    assert bench.state()["reached"]
    bench.begin(None, None)
    store.download("large", copy)
    assert copy.read_bytes() == large.read_bytes()


def test_listings_see_what_was_written_a_moment_ago(store: Store) -> None:
    assert store.folders("kind") == []
    for name in ("b/x", "a/y", "a/deep/z"):
        store.create(f"kind/{name}", b"1234")
    assert store.folders("kind") == ["a", "b"]
    assert store.folders("kind", limit=1) == ["a"]
    assert {(entry.path, entry.bytes) for entry in store.files("kind/a")} == {("kind/a/deep/z", 4), ("kind/a/y", 4)}
    store.remove("kind/a/y")
    store.remove("kind/a/y")
    assert [entry.path for entry in store.files("kind/a")] == ["kind/a/deep/z"]
    assert [entry.path for entry in store.files("")] == ["kind/a/deep/z", "kind/b/x"]
    assert store.folders("") == ["kind"]


def test_an_object_is_removed_only_while_it_is_as_it_was_listed(store: Store) -> None:
    mark(store)
    path = "student/owl-0123456789ab/units/train.json"
    store.create(path, b"1")
    (entry,) = store.files("student")
    assert remove(store, path, entry.modified - timedelta(hours=1)) is False
    assert remove(store, path, entry.modified) is True
    assert remove(store, path, entry.modified) is False
    assert not store.exists(path)


def test_a_file_that_is_larger_than_it_may_be_is_not_read(store: Store) -> None:
    store.create("note", b"1234")
    assert store.read("note", 4) == b"1234"
    with pytest.raises(StoreError, match="has 4 bytes"):
        store.read("note", 3)
    with pytest.raises(FileNotFoundError):
        store.read("nothing", 3)


def test_a_run_and_a_collection_see_each_others_leases(store: Store) -> None:
    with running(store, "small") as run:
        with pytest.raises(InputError, match=r"small .* is running"), collecting(store, lambda: None):
            pass
        run.renew()
    with collecting(store, lambda: None) as collection:
        collection.renew()
    assert [entry.path for entry in store.files("leases")] == ["leases/gc.json"]


def test_a_note_is_written_over(store: Store) -> None:
    store.replace("note", b"one")
    store.replace("note", b"two")
    assert store.read("note") == b"two"


def test_a_store_that_creates_once_is_accepted_and_left_as_it_was(store: Store) -> None:
    store.require_writable()
    assert list(store.files("")) == []


def test_a_store_that_overwrites_all_the_same_is_refused(store: Store, bench: Bench) -> None:
    bench.begin(None, "deaf")
    with pytest.raises(InputError, match=r"overwrites objects although it is asked not to"):
        store.require_writable()


def test_a_bucket_that_is_not_there_is_refused_at_once(store: Store) -> None:
    elsewhere = open_store("s3://no-such-bucket/runs")
    with pytest.raises(InputError, match=r"cannot write to the root s3://no-such-bucket/runs: .* NoSuchBucket"):
        elsewhere.require_writable()
    with pytest.raises(StoreError, match="get_object of s3://no-such-bucket/runs/x failed: NoSuchBucket"):
        elsewhere.read("x")


def test_a_permanent_refusal_fails_at_once_naming_operation_and_key(store: Store, bench: Bench) -> None:
    bench.begin("PUT runs/a/file #1", "403")
    with pytest.raises(StoreError, match=r"put_object of s3://chaos/\S+/runs/a/file failed: AccessDenied"):
        store.create("a/file", b"ours")
    assert bench.state()["requests"] == ["PUT runs/a/file #1"]


@pytest.mark.parametrize("fault", ["drop", "lose", "503", "409"])
def test_a_passing_fault_is_waited_out(store: Store, bench: Bench, fault: str) -> None:
    bench.begin("PUT runs/a/file #1", fault)
    assert store.create("a/file", b"ours")
    assert bench.state()["reached"]
    assert store.read("a/file") == b"ours"
    bench.begin("GET runs/a/file #1", fault)
    assert store.read("a/file") == b"ours"
    assert bench.state()["reached"]


def test_a_model_is_fetched_once_a_machine_and_checked(store: Store, tmp_path: Path) -> None:
    files = artifact.write_files(store, "base/x", {"model/config.json": b"{}", "model/deep/weights": b"1" * 1000})
    folder = local_folder(store, "base/x", files, "model")
    assert (folder / "deep" / "weights").read_bytes() == b"1" * 1000
    again = open_store(store.root)
    assert local_folder(again, "base/x", files, "model") == folder
    (folder / "deep" / "weights").write_bytes(b"0" * 1000)
    with pytest.raises(ArtifactError, match=r"deep/weights is not what the manifest of base/x says"):
        local_folder(open_store(store.root), "base/x", files, "model")


def test_a_changed_object_is_told_before_it_is_used(store: Store) -> None:
    files = artifact.write_files(store, "base/y", {"model/weights": b"1" * 1000})
    store.replace("base/y/model/weights", b"1" * 999 + b"3")
    with pytest.raises(ArtifactError, match=r"base/y/model/weights is not what its manifest says"):
        local_folder(store, "base/y", files, "model")


def test_backoff_gives_up_after_a_while_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at this address."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("pipeline.store.s3.ATTEMPTS", 2)
    started = time.monotonic()
    with pytest.raises(StoreError, match="get_object of s3://chaos/runs/x failed: EndpointConnectionError"):
        open_store("s3://chaos/runs").read("x")
    assert time.monotonic() - started < 30
