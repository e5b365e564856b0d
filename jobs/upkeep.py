"""What the commands that look after a root print and do: verify and gc."""

from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.text import Text

from pipeline import status, upkeep
from pipeline.errors import InputError
from pipeline.store import Store


def show_verified(console: Console, store: Store) -> bool:
    """Every problem on a line, then what was read; whether there was none."""
    finished = unfinished = files = size = problems = 0
    for found in upkeep.verify(store):
        finished += found.finished
        unfinished += not found.finished
        files += found.files
        size += found.bytes
        problems += len(found.problems)
        for problem in found.problems:
            console.print(Text(problem, "red"), soft_wrap=True)
    console.print(
        f"{finished} artifacts and {unfinished} unfinished ones: {files:,} files, {size:,} bytes read; "
        f"{f'{problems} problems' if problems else 'all as it was written'}",
        soft_wrap=True,
        highlight=False,
    )
    return not problems


def collect(console: Console, store: Store, age: timedelta, *, remove: bool) -> None:
    """List or remove garbage. Raises InputError where it is to be removed while a study runs under the root."""
    running = [note.study for note in status.read(store).values() if status.is_alive(note)]
    if remove and running:
        raise InputError(f"{', '.join(running)} is running under {store.root}: remove nothing until it has ended")
    count = size = 0
    for entry in upkeep.garbage(store, datetime.now(UTC) - age):
        count += 1
        size += entry.bytes
        console.print(Text(f"{entry.modified:%Y-%m-%d %H:%M}  {entry.bytes:>12,}  {entry.path}"), soft_wrap=True)
        if remove:
            store.remove(entry.path)
    console.print(f"{count:,} files, {size:,} bytes {'removed' if remove else 'to remove with --yes'}", highlight=False)
