"""What a person sees while a study runs: live bars on a terminal, plain lines elsewhere."""

from collections.abc import Mapping

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from jobs.terminal import Terminal


class Bars:
    """One bar a stage. totals, done: kind -> steps."""

    def __init__(self, totals: Mapping[str, int], done: Mapping[str, int]) -> None:
        self._console = Terminal(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:12}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[now]}", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks = {
            kind: self._bars.add_task(kind, total=total, completed=done.get(kind, 0), now="")
            for kind, total in totals.items()
        }

    def start(self) -> None:
        self._bars.start()

    def stop(self) -> None:
        self._bars.stop()

    def advance(self, kind: str) -> None:
        self._bars.advance(self._tasks[kind])

    def running(self, counts: Mapping[str, int]) -> None:
        for kind, task in self._tasks.items():
            self._bars.update(task, now=f"{counts[kind]} running" if counts.get(kind) else "")

    def say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True, highlight=False)
