"""dataset: external rows, copied unchanged into the store so that their origin stays known."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from pipeline.core.lineage_graph import Node, hub_data
from pipeline.core.settings import Settings
from pipeline.provenance.manifests import Made, Parent
from pipeline.stages.contract import Runtime, Stage
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.step import Json, Step
from pipeline.study.schema import Study
from pipeline.study.teachers import Rows

ROWS = "rows.parquet"
ROLE = "dataset"  # role of the data set that a step reads
CONVERSATION = ("prompt", "completion")  # columns of training rows of teachers


class DatasetSpec(Settings):
    dataset: Rows
    columns: list[str]


class Dataset(Stage[DatasetSpec]):
    kind = "dataset"
    schema = 2
    Spec = DatasetSpec

    def planned(self, rows: Rows, slug: str, columns: Sequence[str]) -> Step:
        return self.step(slug, DatasetSpec(dataset=rows.absolute(), columns=list(columns)), {})

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        """Read a data set. Raises InputError."""
        started = time.time()
        rows = self.read(step)
        return artifact.finish_unit(store, step, unit, {ROWS: rows}, {"rows": rows.num_rows}, started)

    def read(self, step: Step) -> pa.Table:
        spec = self.spec(step)
        return spec.dataset.read(spec.columns)

    def lineage(self, made: Manifest) -> Made:
        given = made.settings["dataset"]
        name = hub_data(given["repo"]) if given.get("repo") else f"rows:{given.get('path') or given['kind']}"
        is_somebodys = bool(given.get("repo") or given.get("path"))  # the others are generated here
        rows = Node(name, "data set" if is_somebodys else "external source")
        return Made("data set", (Parent("merged_from", rows, "settings.dataset", 1.0),))


STAGE = Dataset()


def planned_of(study: Study) -> list[Step]:
    """The steps of a study that import external rows."""
    method = study.teachers.method
    teacher_rows = {target: rows for target in study.targets if (rows := method.data_of(target))}
    steps = [STAGE.planned(rows, target, CONVERSATION) for target, rows in teacher_rows.items()]
    return steps + [STAGE.planned(source, c.kind, c.COLUMNS) for c in study.channels if (source := c.source())]


def require(steps: Iterable[Step], store: Store | None, *, elsewhere: bool) -> None:
    """Read the local files of these steps once, so that a broken file is refused before the run starts.

    store: finished steps in it are skipped; None if it is not known. elsewhere: the files may be on other machines, so
    a missing file is no error. Raises InputError.
    """
    for step in steps:
        path = getattr(STAGE.spec(step).dataset, "path", None)
        is_done = store is not None and artifact.exists(store, step.path)
        if path and not is_done and not (elsewhere and not Path(path).exists()):
            STAGE.read(step)


def rows(store: Store, step: Step) -> pa.Table | None:
    """The rows of the data set that a step reads; None if it reads none."""
    if ROLE not in step.inputs:
        return None
    return artifact.read_table(store, artifact.require(store, step.inputs[ROLE]), ROWS)
