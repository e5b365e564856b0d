"""What `undertow gc` prints and does."""

from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.text import Text

from pipeline import status
from pipeline.errors import InputError
from pipeline.garbage import garbage
from pipeline.store import Store


def collect(console: Console, store: Store, age: timedelta, *, remove: bool) -> None:
    """List or remove garbage. Raises InputError where it is to be removed while a study runs under the root."""
    running = [note.study for note in status.read(store).values() if status.is_alive(note)]
    if remove and running:
        raise InputError(f"{', '.join(running)} is running under {store.root}: remove nothing until it has ended")
    count = size = 0
    for entry in garbage(store, datetime.now(UTC) - age):
        count += 1
        size += entry.bytes
        console.print(Text(f"{entry.modified:%Y-%m-%d %H:%M}  {entry.bytes:>12,}  {entry.path}"), soft_wrap=True)
        if remove:
            store.remove(entry.path)
    console.print(f"{count:,} files, {size:,} bytes {'removed' if remove else 'to remove with --yes'}", highlight=False)
