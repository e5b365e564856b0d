"""dataset: given rows, taken into the store as they were found, so that their origin stays known."""

import time

import pyarrow as pa
from pydantic import TypeAdapter

from pipeline import artifact
from pipeline.families.talk import Talk
from pipeline.source import read
from pipeline.step import GIVEN, Json, Step
from pipeline.store import Store
from pipeline.study import Rows

ROWS = "rows.parquet"


def make(store: Store, step: Step) -> Json:
    """Read a data set and return the record of the unit. Raises InputError."""
    started = time.time()
    told = step.settings["dataset"] | ({"path": step.source} if step.source else {})
    given = TypeAdapter[Rows](Rows).validate_python(told)
    rows = given.table() if isinstance(given, Talk) else read(given, step.settings["columns"])
    return artifact.finish_unit(store, step, "dataset", {ROWS: rows}, {"rows": rows.num_rows}, started)


def rows(store: Store, step: Step) -> pa.Table | None:
    """The rows of the data set that a step is given; None where it is given none."""
    if GIVEN not in step.inputs:
        return None
    return artifact.read_table(store, artifact.require(store, step.inputs[GIVEN]), ROWS)
