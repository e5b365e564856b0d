"""The log of every step, as JSON lines under the root: one file a step, for people and for log shippers."""

import contextlib
import json
from datetime import UTC, datetime

from pipeline.core.errors import StoreError
from pipeline.store import Store, parallel_map, status
from pipeline.store.step import Step


class StepLog:
    """Holds the lines of the steps at work, and writes a step's log when it ends or the run does.

    Object storage cannot append. So a step that was begun by an earlier run has that run's lines read back first.
    """

    def __init__(self, store: Store, place: str, study: str, *, again: bool) -> None:
        self._store = store
        self._place = place
        self._study = study
        self._again = again
        self._lines: dict[str, list[str]] = {}

    def note(self, step: Step, event: str, **fields: object) -> None:
        """fields: JSON values, such as unit and seconds."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "study": self._study, "step": step.path, "event": event} | fields
        self._lines.setdefault(step.path, []).append(json.dumps(line))

    def write(self, path: str) -> None:
        """Store the log of a step. What cannot be stored is lost: a log must not fail what it tells of."""
        lines = self._lines.pop(path, [])
        place = status.log(self._place, path)
        with contextlib.suppress(StoreError):
            before = self._before(place) if self._again else b""
            self._store.replace(place, before + "".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        """Store the logs of the steps that the run leaves unfinished."""
        parallel_map(self.write, list(self._lines))

    def _before(self, place: str) -> bytes:
        try:
            return self._store.read(place)
        except (FileNotFoundError, IsADirectoryError):
            return b""
