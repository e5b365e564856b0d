"""Leases keep `undertow gc` from removing files that a run is about to use.

A run holds and renews `leases/run-ID.json`; gc holds `leases/gc.json` while it removes. Each writes its own lease
before it looks for the other's, so that if both start at once, at least one sees the other. A lease that was not
renewed for LEASE_SECONDS, by the store's clock, has expired. Its holder may only have been suspended: gc's lease keeps
the id of the last collection, and a run stops if that id has changed since its start.
"""

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import TypeAdapter

from pipeline.core.errors import InputError, LeaseLost, StoreError, UserError
from pipeline.store import Entry, Store

FOLDER = "leases"
COLLECTION = f"{FOLDER}/gc.json"
LEASE_SECONDS = 900.0
RENEW_SECONDS = 10.0
WAIT_SECONDS = 30.0  # how long a run waits at its start for a collection to end
LIMIT = 1 << 16  # bytes; a lease has a few hundred

State = Literal["held", "removing", "ended"]


@dataclass(frozen=True)
class Content:
    """The content of a lease. last: in gc's lease only, the id of the last collection that removed anything."""

    id: str
    who: str
    state: State
    last: str = ""


class RunLease:
    """The lease of one run. Its methods are thread-safe."""

    def __init__(self, store: Store, study: str) -> None:
        self._store = store
        self._id = uuid.uuid4().hex
        self._path = f"{FOLDER}/run-{self._id}.json"
        self._who = f"{study} (process {os.getpid()} on {platform.node()})"
        self._last = ""
        self._renewed = 0.0
        self._lock, self._released = threading.Lock(), False

    def take(self) -> None:
        """Raises InputError if a collection is running and does not end within WAIT_SECONDS."""
        deadline = _now() + WAIT_SECONDS
        while True:
            self._write("held")
            entries = _entries(self._store)
            collection = _read(self._store, COLLECTION)
            if not collection or collection.state == "ended" or _lapsed(entries, COLLECTION, self._path):
                self._last = collection.last if collection else ""
                self._renewed = _now()
                return
            self._let_go()
            if _now() > deadline:
                raise InputError(
                    f"undertow gc is removing files under {self._store.root} ({collection.who}): run this again once "
                    f"it has ended. If it was killed, wait {LEASE_SECONDS / 60:.0f} minutes."
                )
            time.sleep(1.0)

    def renew(self) -> None:
        """Raises LeaseLost if a collection has removed files since the run began."""
        at = _now()
        with self._lock:  # a late renewal must not revive a released lease
            if self._released:
                return
            self._write("held")
        collection = _read(self._store, COLLECTION)
        if collection and collection.last != self._last:
            raise LeaseLost(
                "this run was suspended, or could not reach its store, for so long that undertow gc took it for dead "
                f"and removed files under {self._store.root}: run the same command again, which makes what is missing"
            )
        self._renewed = at

    def require(self) -> None:
        """Call before committing a step: renews a lease that may be about to expire. Raises like `renew`."""
        if _now() - self._renewed > LEASE_SECONDS / 2:
            self.renew()

    def release(self) -> None:
        with self._lock:
            self._released = True
            self._let_go()

    def _let_go(self) -> None:
        """Remove the lease; if the store forbids that, mark it as ended."""
        try:
            self._store.remove(self._path)
        except StoreError:
            with contextlib.suppress(StoreError):
                self._write("ended")

    def _write(self, state: State) -> None:
        _write(self._store, self._path, Content(self._id, self._who, state))


class CollectionLease:
    """The lease of one `undertow gc --yes`. `renew` is thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._id = uuid.uuid4().hex
        self._who = f"undertow gc (process {os.getpid()} on {platform.node()})"
        self._renewed = 0.0
        self._lock = threading.Lock()

    def take(self, check: Callable[[], None]) -> None:
        """check: raises if there is any other reason not to remove files.

        Raises InputError if a run or another collection is active, StoreError if a lease is unreadable.
        """
        before = _read(self._store, COLLECTION)
        if before and before.state != "ended":
            begun = datetime.now(UTC) - timedelta(seconds=LEASE_SECONDS)
            if any(entry.path == COLLECTION and entry.modified > begun for entry in _entries(self._store).values()):
                raise InputError(f"{before.who} is removing files under {self._store.root} already")
        last = before.last if before else ""
        self._write("held", last)
        try:
            self._require_no_run()
            check()
        except UserError:
            self._write("ended", last)
            raise
        self._write("removing", self._id)
        self._renewed = _now()

    def renew(self) -> None:
        """Call before each removal. Raises InputError if the lease expired and a run or another gc has begun since."""
        with self._lock:
            passed = _now() - self._renewed
            if passed < RENEW_SECONDS:
                return
            now = _read(self._store, COLLECTION)
            if not now or now.id != self._id:
                raise InputError(f"another undertow gc has begun under {self._store.root}; this one ends")
            self._write("removing", self._id)
            if passed > LEASE_SECONDS / 2:
                self._require_no_run()
            self._renewed = _now()

    def release(self) -> None:
        self._write("ended", self._id)

    def _require_no_run(self) -> None:
        entries = _entries(self._store)
        for path in entries.keys() - {COLLECTION}:
            run = _read(self._store, path)
            if run and run.state != "ended" and not _lapsed(entries, path, COLLECTION):
                raise InputError(
                    f"{run.who} is running under {self._store.root}: remove nothing until it has ended. One that was "
                    f"killed counts as gone {LEASE_SECONDS / 60:.0f} minutes after its last sign of life, which was at "
                    f"{entries[path].modified:%H:%M:%S} UTC."
                )

    def _write(self, state: State, last: str) -> None:
        _write(self._store, COLLECTION, Content(self._id, self._who, state, last))


@contextlib.contextmanager
def running(store: Store, study: str) -> Iterator[RunLease]:
    """Hold the lease of a run. Raises InputError if a collection is active."""
    lease = RunLease(store, study)
    lease.take()
    try:
        yield lease
    finally:
        lease.release()


@contextlib.contextmanager
def collecting(store: Store, check: Callable[[], None]) -> Iterator[CollectionLease]:
    """Hold the lease of a collection. Raises InputError if a run or another collection is active, or like `check`."""
    lease = CollectionLease(store)
    lease.take(check)
    try:
        yield lease
    finally:
        with contextlib.suppress(StoreError):  # it expires by itself
            lease.release()


def _entries(store: Store) -> dict[str, Entry]:
    """Path -> entry of every lease, without files that are still being written."""
    return {entry.path: entry for entry in store.files(FOLDER) if not entry.path.startswith(f"{FOLDER}/.")}


def _lapsed(entries: dict[str, Entry], path: str, fresh: str) -> bool:
    """Whether a lease has expired. fresh: path of a lease written just now, whose time is the store's clock."""
    return path not in entries or (
        fresh in entries and (entries[fresh].modified - entries[path].modified).total_seconds() > LEASE_SECONDS
    )


def _read(store: Store, path: str) -> Content | None:
    """The content of a lease; None if there is none. Raises StoreError if it cannot be read."""
    try:
        return TypeAdapter(Content).validate_json(store.read(path, LIMIT), strict=True)
    except FileNotFoundError:
        return None
    except (ValueError, IsADirectoryError):
        raise StoreError(
            f"{store.root}/{path} is not a lease that this version of undertow reads. If neither a run nor gc is at "
            "work under this root, remove that file."
        ) from None


def _write(store: Store, path: str, content: Content) -> None:
    store.replace(path, json.dumps(asdict(content)).encode())


def _now() -> float:
    """Monotonic seconds, including time asleep if the system counts it."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
