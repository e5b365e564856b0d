"""Progress of a running study: live bars on a terminal, plain lines elsewhere."""

from collections.abc import Mapping
from datetime import timedelta

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from jobs.terminal import Terminal
from pipeline.store.status import PACE


class ProgressDisplay:
    """One bar per stage. totals, done: kind -> steps."""

    def __init__(self, totals: Mapping[str, int], done: Mapping[str, int]) -> None:
        self._console = Terminal(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:12}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[eta]:13}", markup=False),
            TextColumn("{task.fields[now]}", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks = {
            kind: self._bars.add_task(kind, total=total, completed=done.get(kind, 0), now="", eta="")
            for kind, total in totals.items()
        }

    def start(self) -> None:
        self._bars.start()

    def stop(self) -> None:
        self._bars.stop()

    def advance(self, kind: str) -> None:
        self._bars.advance(self._tasks[kind])

    def running(self, counts: Mapping[str, int], left: Mapping[str, tuple[float, str] | None]) -> None:
        """counts: kind -> running steps. left: kind -> (seconds left, source of the estimate), None if not known."""
        for kind, task in self._tasks.items():
            now = f"{counts[kind]} running" if counts.get(kind) else ""
            self._bars.update(task, now=now, eta=_eta(left.get(kind)))

    def say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True, highlight=False)


def _eta(left: tuple[float, str] | None) -> str:
    """ "ETA 0:02:10", or "ETA ~0:02:10" for an estimate; "" if nothing is left or known."""
    if left is None or not left[0]:
        return ""
    return f"ETA {'' if left[1] == PACE else '~'}{timedelta(seconds=round(left[0]))}"
