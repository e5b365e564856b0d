"""`undertow gc`: lists or removes garbage."""

from datetime import UTC, datetime, timedelta
from functools import partial

from rich.console import Console
from rich.text import Text

from pipeline.core.errors import InputError
from pipeline.store import Entry, Store, lease, status
from pipeline.store.garbage import Garbage, collect, garbage
from pipeline.store.lease import LEASE_SECONDS
from pipeline.store.root import require_marked


def list_garbage(console: Console, store: Store, age: timedelta) -> None:
    """Print what `gc --yes` would remove. Raises InputError if undertow has not marked the root."""
    require_marked(store)
    total = _Total()
    for found in garbage(store, datetime.now(UTC) - age):
        _show_spared(console, found)
        total.add(console, found.entries)
    total.show(console, "to remove with --yes")


def remove_garbage(console: Console, store: Store, age: timedelta) -> None:
    """Remove garbage. Raises InputError if undertow has not marked the root, or a study may be running under it."""
    require_marked(store)
    total = _Total()
    with lease.collecting(store, partial(_require_no_run, store)) as held:
        try:
            for found in garbage(store, datetime.now(UTC) - age):
                _show_spared(console, found)
                total.add(console, collect(store, found, held.renew))
        finally:
            total.show(console, "removed")


def _require_no_run(store: Store) -> None:
    """Raise InputError if a status file shows a run. Drivers of earlier versions write one but hold no lease."""
    statuses, unreadable = status.read(store)
    if unreadable:
        raise InputError(
            f"{unreadable[0]}, so undertow cannot tell whether its study is running: run that study again, or remove "
            "that file if nothing is running"
        )
    if running := [found.study for found in statuses.values() if status.is_alive(found, LEASE_SECONDS)]:
        raise InputError(
            f"{', '.join(running)} is running under {store.root}: wait until it has ended. A run that was "
            f"killed counts as ended {LEASE_SECONDS / 60:.0f} minutes after its last heartbeat"
        )


class _Total:
    def __init__(self) -> None:
        self._files = self._bytes = 0

    def add(self, console: Console, entries: list[Entry]) -> None:
        self._files += len(entries)
        self._bytes += sum(entry.bytes for entry in entries)
        for entry in entries:
            console.print(Text(f"{entry.modified:%Y-%m-%d %H:%M}  {entry.bytes:>12,}  {entry.path}"), soft_wrap=True)

    def show(self, console: Console, what: str) -> None:
        console.print(f"{self._files:,} files, {self._bytes:,} bytes {what}", highlight=False)


def _show_spared(console: Console, found: Garbage) -> None:
    if found.spared:
        console.print(Text(f"kept: {found.path}: {found.spared}", "yellow"), soft_wrap=True)
