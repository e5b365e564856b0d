"""dataset: given rows, taken into the store as they were found, so that their origin stays known."""

import time
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
from pydantic import TypeAdapter

from pipeline.core.sources import read
from pipeline.families.talk import Talk
from pipeline.stages.contract import Runtime, Stage
from pipeline.store import Store, artifact
from pipeline.store.step import GIVEN, Json, Step
from pipeline.study.teachers import Rows

ROWS = "rows.parquet"


class Dataset(Stage):
    kind = "dataset"

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        """Read a data set. Raises InputError."""
        started = time.time()
        rows = _read(step)
        return artifact.finish_unit(store, step, unit, {ROWS: rows}, {"rows": rows.num_rows}, started)


STAGE = Dataset()


def require(steps: Iterable[Step], store: Store | None, *, elsewhere: bool) -> None:
    """Read the local files of these steps once, so that a broken one is refused before anything is made.

    store: where a step that is done needs its file no more; None where that is not known. elsewhere: the files may lie
    on other machines, so one that is absent here may be there. Raises InputError.
    """
    for step in steps:
        is_done = store is not None and artifact.exists(store, step.path)
        if step.source and not is_done and not (elsewhere and not Path(step.source).exists()):
            _read(step)


def _read(step: Step) -> pa.Table:
    told = step.settings["dataset"] | ({"path": step.source} if step.source else {})
    given = TypeAdapter[Rows](Rows).validate_python(told)
    return given.table() if isinstance(given, Talk) else read(given, step.settings["columns"])


def rows(store: Store, step: Step) -> pa.Table | None:
    """The rows of the data set that a step is given; None where it is given none."""
    if GIVEN not in step.inputs:
        return None
    return artifact.read_table(store, artifact.require(store, step.inputs[GIVEN]), ROWS)
