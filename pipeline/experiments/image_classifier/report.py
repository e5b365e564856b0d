"""image_student -> image_report: accuracy per condition beside the paper's, its claims as found, and one HTML page."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import yaml

from pipeline.core.reasons import words
from pipeline.core.settings import Settings
from pipeline.experiments.image_classifier import images, statistics, student
from pipeline.experiments.image_classifier import page as html
from pipeline.experiments.image_classifier.settings import REFERENCE, TEACHER, Condition, SeedSet
from pipeline.experiments.image_classifier.statistics import Result
from pipeline.stages.contract import ANY_ROLE, Cost, Lookup, Runtime, Stage
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.step import Json, Step

if TYPE_CHECKING:
    from rich.console import Group


class RowSpec(Settings):
    """One condition. teacher: role of its teachers. missing: why it cannot be had, as a reason code, or ""."""

    condition: Condition
    teacher: str
    missing: str


class ReportSpec(Settings):
    """experiment: the identity of the file. rows: condition -> what its row is made from."""

    experiment: dict[str, Any]
    rows: dict[str, RowSpec]
    seed_sets: list[SeedSet]
    published: dict[str, float]
    smoke_test: bool


class ImageReport(Stage[ReportSpec]):
    kind = "image_report"
    Spec = ReportSpec
    inputs: ClassVar = {ANY_ROLE: "the images, teachers (teacher:SIZES) and students (the condition's name)"}
    page = "report.html"

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        started = time.time()
        content = _content(store, self.spec(step), step.inputs)
        return artifact.finish_unit(store, step, unit, html.render(content), _results(content), started)

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        return Cost(table_rows=float(len(step.inputs)))

    def pages(self, store: Store, made: Manifest) -> dict[str, bytes]:
        return html.render(self._stored(store, made))

    def table(self, store: Store, path: str) -> "Group":
        return html.summary(self._stored(store, artifact.require(store, path)))

    def _stored(self, store: Store, made: Manifest) -> html.Content:
        inputs = {role: source["path"] for role, source in made.inputs.items()}
        return _content(store, self.Spec.from_identity(made.settings), inputs)


STAGE = ImageReport()


def _content(store: Store, spec: ReportSpec, inputs: Mapping[str, str]) -> html.Content:
    """inputs: role -> path."""
    made = {role: artifact.require(store, path) for role, path in inputs.items()}
    conditions = {name: row.condition.model_copy(update={"name": name}) for name, row in spec.rows.items()}
    results = _taught(store, spec, made) + _students(store, spec, made, conditions)
    accuracy = {result.name: result.accuracy for result in results}
    return html.Content(
        name=str(spec.experiment["experiment"]),
        smoke_test=spec.smoke_test,
        results=results,
        claims=statistics.claims(list(conditions.values()), accuracy),
        groups=list(statistics.groups(spec.seed_sets)),
        images=made[images.ROLE].results,
        recipe=spec.experiment["training"] | spec.experiment["network"] | {"noise": spec.experiment["noise"]["images"]},
        speeds=[_speed(role, one) for role, one in made.items() if one.kind in ("image_teacher", "image_student")],
        missing={name: words(row.missing) for name, row in spec.rows.items() if row.missing},
        lineage=list(made.values()),
        versions=next(one for one in made.values() if one.kind == "image_student").produced["versions"],
        settings_yaml=yaml.safe_dump(spec.experiment, sort_keys=False),
    )


def _taught(store: Store, spec: ReportSpec, made: Mapping[str, Manifest]) -> list[Result]:
    """The results of the untrained networks and of the teachers, of the file's usual sizes."""
    usual = f"teacher:{spec.experiment['network']['hidden']}-{spec.experiment['network']['auxiliary']}"
    role = usual if usual in made else next((role for role in made if role.startswith("teacher:")), None)
    if role is None:
        return []
    rows = _rows(store, made[role], "seeds-").to_pylist()
    about = {REFERENCE: ("no training", "reference"), TEACHER: ("trained on the labels", "accuracy")}
    return [
        Result(
            name,
            text,
            statistics.estimates({row["seed"]: row[column] for row in rows}, spec.seed_sets),
            published=spec.published.get(name),
        )
        for name, (text, column) in about.items()
    ]


def _students(
    store: Store, spec: ReportSpec, made: Mapping[str, Manifest], conditions: Mapping[str, Condition]
) -> list[Result]:
    """The results of all conditions that are there; differences are from the first of them."""
    rows = {name: _rows(store, made[name], f"{student.STUDENTS}-").to_pylist() for name in spec.rows if name in made}
    values = {name: {row["seed"]: row["accuracy"] for row in found} for name, found in rows.items()}
    first = next(iter(spec.rows))
    results = []
    for name, found in rows.items():
        taught = _rows(store, made[spec.rows[name].teacher], "seeds-")["accuracy"].to_pylist()
        compared = name != first and first in values
        results.append(
            Result(
                name,
                statistics.about(conditions[name]),
                statistics.estimates(values[name], spec.seed_sets),
                difference=statistics.paired(values[name], values[first]) if compared else None,
                taught=sum(taught) / len(taught),
                loss=(_mean(found, "loss_before"), _mean(found, "loss")),
                cosine=_mean(found, "cosine"),
                published=spec.published.get(name),
            )
        )
    return results


def _mean(rows: list[Json], name: str) -> float:
    return float(sum(row[name] for row in rows) / len(rows))


def _rows(store: Store, made: Manifest, start: str) -> pa.Table:
    """All tables of an artifact whose names begin so, as one."""
    return pa.concat_tables(
        artifact.read_table(store, made, name) for name in artifact.tables_of(made) if name.startswith(start)
    )


def _speed(role: str, made: Manifest) -> Json:
    measured = ("operations", "training_seconds", "operations_per_second", "matmul_per_second")
    return {"step": role, "machines": made.produced["machines"], **{name: made.results[name] for name in measured}}


def _results(content: html.Content) -> Json:
    """What the manifest says: each accuracy with its interval, each claim, and the speed."""
    return {
        "accuracy": {
            one.name: {
                group: {"mean": e.value, "low": _number(e.low), "high": _number(e.high), "seeds": e.runs}
                for group, e in one.accuracy.items()
            }
            for one in content.results
        },
        "claims": [vars(claim) for claim in content.claims],
        "share_of_matmul": content.share_of_matmul,
        "missing": dict(content.missing),
    }


def _number(value: float) -> float | None:
    return value if value == value else None  # JSON has no NaN
