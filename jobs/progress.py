"""What a person sees while a study runs: live bars on a terminal, plain lines elsewhere, a note under the root."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from jobs.pools import Pools
from pipeline import status
from pipeline.errors import StoreError
from pipeline.plan import Step
from pipeline.store import Store
from pipeline.study import Study


class Progress:
    def __init__(self, study: Study, store: Store, steps: Sequence[Step], done: set[str], pools: Pools) -> None:
        self.folder = status.folder(study.study, steps)
        self._store = store
        self._pools = pools
        self._note = status.new_note(study.study, steps, done)
        self._running: dict[str, float] = {}  # path -> monotonic seconds when it began
        self._console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description:12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[now]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        counts = {kind: len(paths) for kind, paths in self._note.steps.items()}
        self._tasks = {
            kind: self._bars.add_task(kind, total=count, completed=self._note.done_at_start.get(kind, 0), now="")
            for kind, count in counts.items()
            if count
        }

    def __enter__(self) -> Self:
        status.write(self._store, self.folder, self._note)
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        with contextlib.suppress(StoreError):
            status.write(self._store, self.folder, self._now(ended=True))

    def started(self, step: Step) -> None:
        self._running[step.path] = time.monotonic()

    def finished(self, step: Step) -> None:
        seconds = time.monotonic() - self._running.pop(step.path)
        self._bars.advance(self._tasks[step.kind])
        self._line(f"done    {step.kind:11} {step.slug}  ({seconds:.1f} s)")

    def failed(self, step: Step, why: str) -> None:
        self._running.pop(step.path)
        self._note.failed[step.path] = why
        self._line(f"FAILED  {step.kind:11} {step.slug}: {why}", "red")

    def say(self, text: str) -> None:
        self._line(text, "yellow")

    async def tend(self) -> None:
        """Keep the note fresh until cancelled."""
        while True:
            with contextlib.suppress(StoreError):  # the next beat may get through; the work goes on without
                await asyncio.to_thread(status.write, self._store, self.folder, self._now(ended=False))
            for kind, task in self._tasks.items():
                now = [path.split("/")[1] for path in self._running if path.startswith(f"{kind}/")]
                self._bars.update(task, now=", ".join(now[:2]))
            await asyncio.sleep(status.BEAT_SECONDS)

    def _now(self, *, ended: bool) -> status.Note:
        return dataclasses.replace(
            self._note, beat=time.time(), ended=ended, running=list(self._running), pools=dict(self._pools.queued())
        )

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True, highlight=False)
