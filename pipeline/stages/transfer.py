"""answers -> transfer: the matrix of a study, measured from what the manifests of its answers say."""

import math
import time
from collections.abc import Mapping
from functools import partial

import pyarrow as pa

from pipeline.analysis import mass, transfer
from pipeline.analysis.cells import LACKS_TRAIT, Measure, MissingStudent
from pipeline.stages.contract import Cost, Lookup, Runtime, Stage
from pipeline.store import Store, artifact, at_once
from pipeline.store.artifact import Manifest
from pipeline.store.schemas import MASS
from pipeline.store.step import Json, Step
from pipeline.study.measure import MIN_MASS

RUNS, CELLS, MASSES = "runs.parquet", "cells.parquet", "mass.parquet"


class TransferStage(Stage):
    kind = "transfer"

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        return _make(store, step, unit)

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        return Cost(table_rows=float(len(step.settings["runs"])))


STAGE = TransferStage()


def _make(store: Store, step: Step, unit: str) -> Json:
    """Measure the matrix from the answers that the step names; returns the record of the unit."""
    started = time.time()
    settings = step.settings
    inputs = _inputs(store, step.inputs)
    masses = _masses(store, inputs)
    results = {role: _results(manifest, masses.get(role)) for role, manifest in inputs.items()}
    bases = {
        (about["suite"], about["family"]): results[role] for role, about in settings["bases"].items() if role in results
    }
    runs, cells = transfer.measure(
        (_answered(results[role], design) for role, design in settings["runs"].items() if role in results),
        bases,
        measure_of(settings),
        missing=[
            MissingStudent(**_design(design), why=settings["missing"].get(role, ""))
            for role, design in settings["runs"].items()
            if role not in inputs
        ],
        failed_gates=failed_gates(settings),
    )
    tables = {RUNS: runs, CELLS: cells, MASSES: _mass_table(settings, masses)}
    return artifact.finish_unit(store, step, unit, tables, {"cells": _without_nan(cells)}, started)


def failed_gates(settings: Json) -> list[tuple[str, str]]:
    """(family, target) of the teachers that did not show their trait, as their steps or their students' say."""
    lost = {role for role, why in settings["missing"].items() if LACKS_TRAIT in why}
    found = {(of["teacher_family"], of["taught"]) for role, of in settings["runs"].items() if role in lost}
    found |= {(of["family"], of["target"]) for role, of in settings.get("gates", {}).items() if role in lost}
    return sorted(found)


def measure_of(settings: Json) -> Measure:
    judged = settings["measure"]
    return Measure(
        targets=tuple(settings["targets"]),
        arms=tuple(settings["arms"]),
        suites=settings["suites"],
        measured=settings.get("measured", {}),
        equivalence_margin={
            "margin": judged["margin_nats"],
            "share": judged["margin_share"],
            "word_share": judged["margin_share"],
            "rate": judged["margin_share"],
        },
        confidence=judged["confidence"],
        permutations=judged["permutations"],
        seed=settings["seed"],
        min_mass=min_mass_of(settings),
    )


def min_mass_of(settings: Json) -> float:
    """As the study says: its settings leave the default out."""
    return float(settings["measure"].get("min_mass", MIN_MASS))


def _without_nan(table: pa.Table) -> list[Json]:
    """A table's rows as JSON knows them: what is not a number is null."""
    return [
        {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
        for row in table.to_pylist()
    ]


def _design(info: Json) -> Json:
    return {key: value for key, value in info.items() if key != "id"}


def _inputs(store: Store, inputs: Mapping[str, str]) -> dict[str, Manifest]:
    """role -> the finished artifact."""
    return dict(zip(inputs, at_once(partial(artifact.require, store), inputs.values()), strict=True))


def _answered(results: transfer.Results, info: Json) -> transfer.StudentAnswers:
    return transfer.StudentAnswers(**_design(info), student=info["id"], results=results)


def _masses(store: Store, inputs: Mapping[str, Manifest]) -> dict[str, mass.Masses]:
    """role -> the mass of every question that a model was scored on."""
    scored = {role: manifest for role, manifest in inputs.items() if mass.has_scores(manifest)}
    return dict(zip(scored, at_once(partial(_mass, store), scored.values()), strict=True))


def _mass(store: Store, answers: Manifest) -> mass.Masses:
    scores = artifact.read_table(store, answers, mass.SCORES, ["question", "candidate", "logprob"])
    return mass.by_question(scores, answers.settings["candidates"])


def _results(answers: Manifest, masses: mass.Masses | None) -> transfer.Results:
    """What answers came to, and the mass of each candidate's category."""
    found = mass.by_candidate(masses, answers.settings["candidates"]) if masses else {}
    return {**answers.results, "mass": found}


def _mass_table(settings: Json, masses: Mapping[str, mass.Masses]) -> pa.Table:
    """The bases' masses, then those of the students, in the order of the study."""
    bases = [(role, of["suite"], of["family"], None) for role, of in settings["bases"].items()]
    students = [(role, of["suite"], of["student_family"], of["id"]) for role, of in settings["runs"].items()]
    tables = [mass.table(masses[role], *of) for role, *of in [*bases, *students] if role in masses]
    return pa.concat_tables(tables) if tables else MASS.empty_table()
