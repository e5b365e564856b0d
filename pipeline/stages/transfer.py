"""answers -> transfer: the matrix of a study, computed from the results of its answers."""

import math
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from pipeline.analysis import mass, transfer
from pipeline.analysis.design import Measure, MissingStudent
from pipeline.core.reasons import NOT_MEASURED
from pipeline.core.settings import Settings
from pipeline.report.page import matrix_table
from pipeline.stages.contract import ANY_ROLE, Cost, Lookup, Runtime, Stage
from pipeline.store import Store, artifact, parallel_map
from pipeline.store.artifact import Manifest
from pipeline.store.schemas import MASS
from pipeline.store.step import Json, Step
from pipeline.study.measure import Measure as Measuring

if TYPE_CHECKING:
    from rich.table import Table

RUNS, CELLS, MASSES = "runs.parquet", "cells.parquet", "mass.parquet"


class FailedGate(Settings):
    """A teacher that its gate refused. reason: a code of pipeline.core.reasons."""

    family: str
    target: str
    reason: str


class TransferSpec(Settings):
    """The design of a study.

    runs      role of an input -> the design of its run: see pipeline.analysis.design.Run
    bases     role of an input -> suite and family of its base
    missing   role of a missing result -> reason code (pipeline.core.reasons)
    outcomes  suite -> names that it measures in place of the targets
    primary_suite, primary_metric     carry the claims
    drawn_from                        candidates that the targets were drawn from; empty if they were chosen
    control_targets                   of teachers that are not meant to show their behaviour
    """

    runs: dict[str, dict[str, Any]]
    bases: dict[str, dict[str, str]]
    missing: dict[str, str]
    failed_gates: list[FailedGate]
    targets: list[str]
    arms: list[str]
    suites: dict[str, list[str]]
    outcomes: dict[str, list[str]]
    primary_suite: str
    primary_metric: str
    control_targets: list[str]
    drawn_from: list[str]
    measure: Measuring
    seed: int
    smoke_test: bool


class Transfer(Stage[TransferSpec]):
    kind = "transfer"
    schema = 7
    Spec = TransferSpec
    inputs: ClassVar = {ANY_ROLE: "answers or ratings of bases and students; roles of students are ARM:NAME"}

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        return _make(store, step, unit)

    def table(self, store: Store, path: str) -> "Table":
        return matrix_table(artifact.read_table(store, artifact.require(store, path), CELLS))

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        return Cost(table_rows=float(len(step.settings["runs"])))  # not the typed spec: it has thousands of runs


STAGE = Transfer()


def _make(store: Store, step: Step, unit: str) -> Json:
    """Compute the matrix from the step's answers; returns the record of the unit."""
    started = time.time()
    spec = STAGE.spec(step)
    inputs = _inputs(store, step.inputs)
    masses = _masses(store, inputs)
    results = {role: _results(manifest, masses.get(role)) for role, manifest in inputs.items()}
    looks = earlier_looks(store, step)
    settings = measure_of(spec, len(looks))
    bases = {(about["suite"], about["family"]): results[role] for role, about in spec.bases.items() if role in results}
    runs, cells = transfer.measure(
        (_answered(results[role], design) for role, design in spec.runs.items() if role in results),
        bases,
        settings,
        missing=[
            MissingStudent(**_design(design), reason=spec.missing.get(role, ""))
            for role, design in spec.runs.items()
            if role not in inputs
        ],
        failed_gates=failed_gates(spec),
    )
    tables = {RUNS: runs, CELLS: cells, MASSES: _mass_table(spec, masses)}
    missing = [{"step": role, "reason": code, "why": step.notes.get(role, "")} for role, code in spec.missing.items()]
    found = {"cells": _without_nan(cells), "missing": missing, "looks": looks, "confidence": settings.confidence}
    return artifact.finish_unit(store, step, unit, tables, found, started)


def earlier_looks(store: Store, step: Step) -> list[str]:
    """Paths of finished matrices of the same study over some of this one's runs, but not over the same ones.

    Whoever adds runs until a verdict comes has looked at the data before, and each look takes its share of α. A matrix
    of the same runs, such as one without those that failed, is no other look, and one of other runs is another study.
    """
    runs = _run_ids(step.settings)
    found: dict[frozenset[str], str] = {}
    for name in store.folders("transfer"):
        path = f"transfer/{name}"
        if name.rpartition("-")[0] != step.slug or path == step.path:
            continue
        matrix = artifact.load(store, path)
        others = _run_ids(matrix.settings) if matrix else frozenset()
        if others & runs and others != runs:
            found.setdefault(others, path)
    return list(found.values())


def _run_ids(settings: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(f"{role} {run['id']}" for role, run in settings["runs"].items())


def failed_gates(spec: TransferSpec) -> list[tuple[str, str]]:
    """(family, target) of the teachers that did not show their trait."""
    return sorted((gate.family, gate.target) for gate in spec.failed_gates if gate.reason != NOT_MEASURED)


def measure_of(spec: TransferSpec, looks: int) -> Measure:
    """looks: how many earlier looks at the data share α with this one."""
    wanted = spec.measure
    return Measure(
        targets=tuple(spec.targets),
        arms=tuple(spec.arms),
        suites=spec.suites,
        outcomes=spec.outcomes,
        equivalence_margin={
            "margin": wanted.margin_nats,
            "share": wanted.margin_share,
            "mention_rate": wanted.margin_share,
            "rate": wanted.margin_share,
        },
        primary=(spec.primary_suite, spec.primary_metric),
        margin_reason=wanted.margin_reason,
        control_targets=spec.control_targets,
        drawn_from=tuple(spec.drawn_from),
        confidence=1 - (1 - wanted.confidence) / (looks + 1),
        permutations=wanted.permutations,
        seed=spec.seed,
        min_mass=wanted.min_mass,
    )


def _without_nan(table: pa.Table) -> list[Json]:
    """A table's rows with NaN replaced by None, as JSON requires."""
    return [
        {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
        for row in table.to_pylist()
    ]


def _design(info: Json) -> Json:
    return {key: value for key, value in info.items() if key != "id"}


def _inputs(store: Store, inputs: Mapping[str, str]) -> dict[str, Manifest]:
    """role -> the finished artifact."""
    return dict(zip(inputs, parallel_map(partial(artifact.require, store), inputs.values()), strict=True))


def _answered(results: transfer.Results, info: Json) -> transfer.StudentAnswers:
    return transfer.StudentAnswers(**_design(info), student=info["id"], results=results)


def _masses(store: Store, inputs: Mapping[str, Manifest]) -> dict[str, mass.Masses]:
    """role -> the mass of every question that a model was scored on."""
    scored = {role: manifest for role, manifest in inputs.items() if mass.has_scores(manifest)}
    return dict(zip(scored, parallel_map(partial(_mass, store), scored.values()), strict=True))


def _mass(store: Store, answers: Manifest) -> mass.Masses:
    scores = artifact.read_table(store, answers, mass.SCORES, ["question", "candidate", "logprob"])
    return mass.by_question(scores, answers.settings["candidates"])


def _results(answers: Manifest, masses: mass.Masses | None) -> transfer.Results:
    """The results of answers, with the mass of each candidate's category."""
    found = mass.by_candidate(masses, answers.settings["candidates"]) if masses else {}
    return {**answers.results, "mass": found}


def _mass_table(spec: TransferSpec, masses: Mapping[str, mass.Masses]) -> pa.Table:
    """The bases' masses, then those of the students, in the order of the study."""
    bases = [(role, about["suite"], about["family"], None) for role, about in spec.bases.items()]
    students = [(role, run["suite"], run["student_family"], run["id"]) for role, run in spec.runs.items()]
    tables = [mass.table(masses[role], *about) for role, *about in [*bases, *students] if role in masses]
    return pa.concat_tables(tables) if tables else MASS.empty_table()
