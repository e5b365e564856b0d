"""Logs of steps, as JSON lines under the root: one file per step, for people and for log shippers."""

import contextlib
import json
from datetime import UTC, datetime

from pipeline.core.errors import StoreError
from pipeline.store import Store, parallel_map, status
from pipeline.store.step import Step


class StepLog:
    """Buffers the lines of running steps, and writes the log of a step when it or the run ends.

    Object storage cannot append. So if an earlier run began the step, its lines are read back first.
    """

    def __init__(self, store: Store, run_dir: str, study: str, *, again: bool) -> None:
        self._store = store
        self._run_dir = run_dir
        self._study = study
        self._again = again
        self._lines: dict[str, list[str]] = {}

    def add(self, step: Step, event: str, **fields: object) -> None:
        """fields: JSON values, such as unit and seconds."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "study": self._study, "step": step.path, "event": event} | fields
        self._lines.setdefault(step.path, []).append(json.dumps(line))

    def write(self, path: str) -> None:
        """Store the log of a step. If that fails, the log is lost: it must not fail the step."""
        lines = self._lines.pop(path, [])
        file = status.log(self._run_dir, path)
        with contextlib.suppress(StoreError):
            before = self._before(file) if self._again else b""
            self._store.replace(file, before + "".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        """Store the logs of unfinished steps."""
        parallel_map(self.write, list(self._lines))

    def _before(self, file: str) -> bytes:
        try:
            return self._store.read(file)
        except (FileNotFoundError, IsADirectoryError):
            return b""
