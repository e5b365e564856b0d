"""theorem_draws -> theorem_report: shares, means and claims as found, and one HTML page."""

import time
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import yaml

from pipeline.core.settings import Settings
from pipeline.experiments.theorem import draws, summary
from pipeline.experiments.theorem.page import Content, for_terminal, render
from pipeline.experiments.theorem.settings import Criteria, Design
from pipeline.experiments.theorem.summary import ALL_NETWORKS
from pipeline.stages.contract import Cost, Lookup, Runtime, Stage
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.step import Json, Step

if TYPE_CHECKING:
    from rich.table import Table

ROLE = "draws"


class ReportSpec(Settings):
    """experiment: the identity of the file."""

    experiment: dict[str, Any]
    design: Design
    criteria: Criteria
    smoke_test: bool


class TheoremReport(Stage[ReportSpec]):
    kind = "theorem_report"
    Spec = ReportSpec
    inputs: ClassVar = {ROLE: "the draws"}
    page = "report.html"

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        started = time.time()
        content = _content(store, self.spec(step), step.inputs[ROLE])
        return artifact.finish_unit(store, step, unit, render(content), _results(content), started)

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        return Cost(table_rows=float(self.spec(step).design.total))

    def pages(self, store: Store, made: Manifest) -> dict[str, bytes]:
        return render(self._stored(store, made))

    def table(self, store: Store, path: str) -> "Table":
        return for_terminal(self._stored(store, artifact.require(store, path)))

    def _stored(self, store: Store, made: Manifest) -> Content:
        return _content(store, self.Spec.from_identity(made.settings), made.inputs[ROLE]["path"])


STAGE = TheoremReport()


def _content(store: Store, spec: ReportSpec, path: str) -> Content:
    """path: of the draws."""
    made = artifact.require(store, path)
    names = (f"{unit}.parquet" for unit in draws.names(spec.design))
    rows = pa.concat_tables(artifact.read_table(store, made, name) for name in names)
    return Content(
        name=str(spec.experiment["experiment"]),
        smoke_test=spec.smoke_test,
        design=spec.design,
        criteria=spec.criteria,
        groups=summary.groups(rows, spec.criteria.confidence),
        claims=summary.claims(rows, spec.criteria),
        lineage=[made],
        versions=made.produced["versions"],
        settings_yaml=yaml.safe_dump(spec.experiment, sort_keys=False),
    )


def _results(content: Content) -> Json:
    """What the manifest says: each claim, and the figures of all networks together."""
    return {
        "draws": content.design.total,
        "claims": [vars(claim) for claim in content.claims],
        "groups": [
            {
                "condition": group.condition,
                "imitation": group.imitation,
                "teacher_step": group.step,
                "draws": group.draws,
                "negative": group.negative,
                "mean_cosine": group.cosine.value,
                "largest_departure": group.departure and group.departure.largest,
            }
            for group in content.groups
            if group.network == ALL_NETWORKS
        ],
    }
