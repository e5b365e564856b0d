"""The file of a verdict cache: SQLite, shared by the processes of one machine."""

import fcntl
import itertools
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from pipeline.core.errors import InputError

LOCK_SECONDS = 60  # longest wait for other processes to finish writing
DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
TABLE = """CREATE TABLE IF NOT EXISTS verdicts
    (key TEXT PRIMARY KEY, reply TEXT NOT NULL, probability REAL, attempts INTEGER NOT NULL) STRICT, WITHOUT ROWID"""

Kept = tuple[str, float | None, int]  # reply, probability, attempts: see Verdict
Result = TypeVar("Result")


class VerdictStore:
    """Uses WAL mode, which needs a local disk, not a network share.

    A damaged file is moved aside, to FILE.damaged-1 and so on, and a new one is begun: everything in a cache can be
    computed again. Raises InputError if the file can be neither read nor written.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._guarded(self._begin)

    def get(self, keys: Iterable[str]) -> dict[str, Kept]:
        """The stored verdicts of these keys."""

        def read(database: sqlite3.Connection) -> dict[str, Kept]:
            select = "SELECT reply, probability, attempts FROM verdicts WHERE key = ?"
            rows = {key: database.execute(select, [key]).fetchone() for key in set(keys)}
            return {key: row for key, row in rows.items() if row}

        return self._guarded(lambda: self._once(read))

    def put(self, kept: Mapping[str, Kept]) -> None:
        """Store these, all or none; a verdict that another process has stored meanwhile stays."""

        def write(database: sqlite3.Connection) -> None:
            rows = [(key, *values) for key, values in kept.items()]
            database.executemany("INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?, ?)", rows)

        self._guarded(lambda: self._once(write))

    def _once(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        # A new connection for each use: none is shared by threads or carried over a fork.
        with closing(sqlite3.connect(self._file, timeout=LOCK_SECONDS)) as database, database:
            database.execute(TABLE)  # the file may have been removed since
            return work(database)

    def _begin(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        # Two processes that switch to WAL at once can each find the file locked by the other, whatever the timeout.
        with _alone(self._file):
            self._once(lambda database: database.execute("PRAGMA journal_mode = WAL"))

    def _guarded(self, action: Callable[[], Result]) -> Result:
        """Run the action; if the file is damaged, run it again on a new one."""
        try:
            try:
                return action()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
            move_aside(self._file)
            self._begin()
            return action()
        except (sqlite3.Error, OSError) as error:
            raise InputError(f"cannot use the cache of verdicts {self._file}: {error}") from None


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE  # the low byte is the kind of an extended code


def move_aside(file: Path) -> None:
    """Rename the file unless it is sound, as it is if another process has just moved the damaged one."""
    with _alone(file):
        if _is_sound(file):
            return
        aside = next(name for n in itertools.count(1) if not (name := Path(f"{file}.damaged-{n}")).exists())
        # With its log: a process that still has the old file open must not share the log of the new one.
        for part in ("-wal", "-shm", ""):
            if Path(f"{file}{part}").exists():
                Path(f"{file}{part}").rename(f"{aside}{part}")


def _is_sound(file: Path) -> bool:
    try:
        with closing(sqlite3.connect(file, timeout=LOCK_SECONDS)) as database:
            return bool(database.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)])
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            raise
        return False


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold the file's lock; it is released when the process ends, however it ends."""
    with Path(f"{file}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
