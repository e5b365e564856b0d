"""What the finished studies of a root have measured of one student.

A cell of a matrix is about all students of a family pair. Beside it stands the student's own lift, which has no
interval.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from pipeline.core.errors import ArtifactError
from pipeline.provenance.manifests import load_or_tell
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.verify import artifacts

RUNS = "runs.parquet"
CELL = ("channel", "arm", "suite", "teacher_family", "student_family")
METRICS = {"margin": "nats", "share": "of 1", "mention_rate": "of 1", "rate": "of 1"}  # -> unit
QUANTITIES = {"trait": "γ, the trait-specific transfer", "neutral": "mean lift of the students of a neutral teacher"}
NOTHING = "Nothing has been measured of it: no transfer artifact of its root has a number for it."
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Measurement:
    """One number.

    transfer      path of the artifact that holds it
    smoke_test    whether stand-ins took the place of models, so that it is no measurement
    suite         of questions; cell: the cell of the matrix, for people
    confidence    of intervals (of 1)
    quantity      what it is an estimate of, for people; metric: one of METRICS
    low, high     the interval; None without one
    runs          how many students it rests on: 1 if it is about this student alone
    verdict       of the study, or ""
    """

    transfer: str
    smoke_test: bool
    suite: str
    cell: str
    confidence: float
    quantity: str
    metric: str
    estimate: float
    low: float | None = None
    high: float | None = None
    runs: int = 1
    verdict: str = ""

    @property
    def unit(self) -> str:
        return METRICS[self.metric]

    @property
    def name(self) -> str:
        warning = "SMOKE TEST, no measurement: " if self.smoke_test else ""
        return f"{warning}{self.quantity} ({self.metric}, {self.unit})"


def measurements(store: Store, student: Manifest, problems: list[str]) -> list[Measurement]:
    """In the order of the matrices. What cannot be read becomes a problem."""
    found: list[Measurement] = []
    for path in artifacts(store, "transfer"):
        matrix = load_or_tell(store, path, problems)
        if matrix is None:
            continue
        try:
            found += _of(store, matrix, student, problems)
        except ArtifactError as error:
            problems.append(str(error))
        except (KeyError, TypeError):
            problems.append(f"{path} was written by a version of undertow whose cells this one cannot read")
    return found


def _of(store: Store, matrix: Manifest, student: Manifest, problems: list[str]) -> Iterator[Measurement]:
    for role, run in matrix.settings["runs"].items():
        if run["id"] != student.id or role not in matrix.inputs:
            continue
        if _is_about(store, matrix.inputs[role], student):
            yield from _lifts(store, matrix, run)
            yield from _cells(matrix, run)
        else:
            problems.append(f"{matrix.path} names {student.path}, but the answers that it read are not its answers")


def _is_about(store: Store, source: Mapping[str, str], student: Manifest) -> bool:
    """Whether answers, or ratings of answers, are those of this very student."""
    asked = artifact.load(store, source["path"])
    if asked is None or asked.digest != source["manifest"]:
        return False
    if "answers" in asked.inputs:
        return _is_about(store, asked.inputs["answers"], student)
    return asked.inputs.get("model") == {"path": student.path, "manifest": student.digest}


def _lifts(store: Store, matrix: Manifest, run: Row) -> Iterator[Measurement]:
    """How far the student lies above its base, in its teacher's target or in what else the suite measures."""
    rows = artifact.read_table(store, matrix, RUNS)
    for row in rows.filter(pc.equal(rows["student"], run["id"])).to_pylist():
        if not _is_in(row, run) or (row["target"] != run["teacher_target"] and row["rate"] is None):
            continue
        for metric in METRICS:
            value, base = row[metric], row[f"base_{metric}"]
            if value is not None and base is not None and math.isfinite(value - base):
                quantity = f"lift of this student over its base in {row['target']}"
                yield Measurement(**_common(matrix, run), quantity=quantity, metric=metric, estimate=value - base)


def _cells(matrix: Manifest, run: Row) -> Iterator[Measurement]:
    """The estimates of the cell that the student is one run of."""
    target = run["teacher_target"]
    about = ("neutral",) if target is None else ("trait", f"target {target}")
    for row in matrix.results["cells"]:
        is_number = row["estimate"] is not None and row["verdict"] != "not measured"
        if not is_number or not _is_in(row, run) or row["comparison"] not in about:
            continue
        has_interval = row["low"] is not None and row["high"] is not None
        yield Measurement(
            **_common(matrix, run),
            quantity=QUANTITIES.get(row["comparison"], f"rise beyond the neutral teacher's students, {target}"),
            metric=row["metric"],
            estimate=row["estimate"],
            low=row["low"] if has_interval else None,
            high=row["high"] if has_interval else None,
            runs=row["runs"],
            verdict=row["verdict"],
        )


def _is_in(row: Row, run: Row) -> bool:
    """Whether a row is of the run's cell."""
    return all(row[name] == run[name] for name in CELL)


def _common(matrix: Manifest, run: Row) -> dict[str, Any]:
    return {
        "transfer": matrix.path,
        "smoke_test": matrix.settings["smoke_test"],
        "suite": run["suite"],
        "cell": f"{run['channel']}, arm {run['arm']}, suite {run['suite']}, teachers of {run['teacher_family']}, "
        f"students of {run['student_family']}",
        "confidence": matrix.results["confidence"],
    }
