"""Leases: a run and a collection never work under one root at once, and whoever was taken for gone notices."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.errors import InputError, LeaseLost, StoreError
from pipeline.store import Store, lease
from pipeline.store.lease import COLLECTION, FOLDER, LEASE_SECONDS, CollectionLease, RunLease, collecting, running


class Clock:
    """Seconds that pass for the process as it measures them, and for what lies in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.now = 1000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self._store.folder
        for path in (self._store.folder / FOLDER).glob("*.json"):
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))


@pytest.fixture
def clock(store: Store, monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock(store)
    monkeypatch.setattr(lease, "_now", lambda: made.now)
    monkeypatch.setattr(time, "sleep", made.sleep)
    return made


def nothing() -> None:
    pass


def begun(store: Store) -> RunLease:
    run = RunLease(store, "small")
    run.take()
    return run


def test_nothing_is_collected_while_a_run_holds_its_lease(store: Store, clock: Clock) -> None:
    run = begun(store)
    for seconds in (0, 34, LEASE_SECONDS - 40):
        clock.sleep(seconds)
        with pytest.raises(InputError, match=r"small \(process \d+ on .* is running"), collecting(store, nothing):
            pass
    run.renew()
    run.release()
    with collecting(store, nothing):
        pass
    assert [entry.path for entry in store.files(FOLDER)] == [COLLECTION]


def test_no_run_begins_while_a_collection_is_at_work_and_it_waits_a_little(store: Store, clock: Clock) -> None:
    with collecting(store, nothing):
        with pytest.raises(InputError, match="undertow gc is removing files"):
            begun(store)
        assert [entry.path for entry in store.files(FOLDER)] == [COLLECTION]
    begun(store).renew()


def test_a_collection_that_was_killed_holds_runs_up_for_a_quarter_of_an_hour(store: Store, clock: Clock) -> None:
    CollectionLease(store).take(nothing)
    clock.sleep(LEASE_SECONDS + 1)
    begun(store).renew()


def test_a_run_that_was_taken_for_gone_notices_before_it_commits_anything(store: Store, clock: Clock) -> None:
    run = begun(store)
    run.require()
    clock.sleep(LEASE_SECONDS + 1)
    with collecting(store, nothing):
        pass
    for use in (run.require, run.renew):
        with pytest.raises(LeaseLost, match="run the same command again"):
            use()
    begun(store).renew()


def test_a_run_that_was_suspended_and_not_taken_for_gone_goes_on(store: Store, clock: Clock) -> None:
    run = begun(store)
    clock.sleep(10 * LEASE_SECONDS)
    run.require()
    with pytest.raises(InputError, match="is running"), collecting(store, nothing):
        pass
    run.renew()


def test_a_collection_that_was_taken_for_gone_ends_where_a_run_began_since(store: Store, clock: Clock) -> None:
    collection = CollectionLease(store)
    collection.take(nothing)
    clock.sleep(20)
    collection.renew()
    clock.sleep(LEASE_SECONDS + 1)
    run = begun(store)
    with pytest.raises(InputError, match="is running"):
        collection.renew()
    run.renew()


def test_of_two_collections_one_ends(store: Store, clock: Clock) -> None:
    first, second = CollectionLease(store), CollectionLease(store)
    first.take(nothing)
    with pytest.raises(InputError, match="already"):
        second.take(nothing)
    clock.sleep(LEASE_SECONDS + 1)
    second.take(nothing)
    with pytest.raises(InputError, match="another undertow gc"):
        first.renew()


def test_a_collection_that_finds_a_reason_not_to_begin_disturbs_nobody(store: Store, clock: Clock) -> None:
    def refuse() -> None:
        raise InputError("no")

    run = begun(store)
    clock.sleep(LEASE_SECONDS + 1)
    with pytest.raises(InputError, match="no"), collecting(store, refuse):
        pass
    run.renew()
    begun(store)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b'{"id": 1}', b"[" * 60_000, b"x" * 100_000])
@pytest.mark.parametrize("path", [COLLECTION, f"{FOLDER}/run-other.json"])
def test_a_lease_that_cannot_be_read_is_named_and_nothing_is_removed(
    store: Store, clock: Clock, path: str, content: bytes
) -> None:
    store.create(path, content)
    clock.sleep(LEASE_SECONDS + 1)
    with pytest.raises(StoreError, match=path), collecting(store, nothing):
        pass
    assert store.read(path) == content


def test_fields_of_later_versions_are_passed_over(store: Store, clock: Clock) -> None:
    store.create(f"{FOLDER}/run-1.json", b'{"id": "1", "who": "new", "state": "held", "more": {"a": 1}}')
    with pytest.raises(InputError, match="new is running"), collecting(store, nothing):
        pass


def test_a_store_that_forbids_removal_has_the_lease_say_that_it_ended(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(*_: object) -> bool:
        raise StoreError("forbidden")

    monkeypatch.setattr(type(store), "remove", forbid)
    with running(store, "small") as run:
        run.renew()
    assert len(list(store.files(FOLDER))) == 1
    with collecting(store, nothing):
        pass


def test_a_released_lease_is_not_taken_up_again_by_a_late_renewal(store: Store, clock: Clock) -> None:
    run = begun(store)
    run.release()
    run.renew()
    assert list(store.files(FOLDER)) == []


@pytest.mark.parametrize("first", ["run", "gc"])
def test_of_a_run_and_a_collection_that_begin_at_once_at_most_one_goes_on(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """The other one begins at every point between two operations of the first one on the store."""
    monkeypatch.setattr(lease, "WAIT_SECONDS", 0.0)
    roles: dict[str, Callable[[], object]] = {
        "run": lambda: begun(store),
        "gc": lambda: CollectionLease(store).take(nothing),
    }
    second = roles["gc" if first == "run" else "run"]
    for point in range(12):
        for path in Path(store.root).glob(f"{FOLDER}/*"):
            path.unlink()
        ends = {"other": "not begun"}
        with monkeypatch.context() as patch:
            _interrupt(patch, store, point, lambda ends=ends: ends.update(other=_end(second)))
            ends["first"] = _end(roles[first])
        assert list(ends.values()).count("went on") <= 1, (point, ends)
        assert "went on" in ends.values(), (point, ends)


def _end(begin: Callable[[], object]) -> str:
    try:
        begin()
    except InputError as error:
        return str(error)
    return "went on"


def _interrupt(patch: pytest.MonkeyPatch, store: Store, point: int, other: Callable[[], object]) -> None:
    calls = iter(range(1000))
    busy: list[int] = []

    def wrapped(name: str) -> Callable[..., object]:
        operation = getattr(type(store), name)

        def call(*args: object) -> object:
            if not busy and next(calls) == point:
                busy.append(1)
                other()
            return operation(*args)

        return call

    for name in ("replace", "read", "files", "remove"):
        patch.setattr(type(store), name, wrapped(name))
