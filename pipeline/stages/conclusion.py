"""transfer and report, made from stored artifacts: gathers what the manifests of a study say."""

import math
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pyarrow as pa
import yaml
from pydantic import TypeAdapter

from pipeline import artifact
from pipeline.artifact import Manifest
from pipeline.measure import MIN_MASS
from pipeline.rows import MASS
from pipeline.stages import checks, contrasts, mass, report, transfer
from pipeline.stages.cells import Measure, MissingStudent
from pipeline.stages.gate import LACKS_TRAIT
from pipeline.stages.published import comparison
from pipeline.step import KINDS, Json, Step
from pipeline.store import Store, at_once
from pipeline.suites import Suite

RUNS, CELLS, MASSES = "runs.parquet", "cells.parquet", "mass.parquet"


def make_transfer(store: Store, step: Step) -> Json:
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
        _measure(settings),
        missing=[
            MissingStudent(**_design(design), why=settings["missing"].get(role, ""))
            for role, design in settings["runs"].items()
            if role not in inputs
        ],
        failed_gates=_failed_gates(settings),
    )
    tables = {RUNS: runs, CELLS: cells, MASSES: _mass_table(settings, masses)}
    return artifact.finish_unit(store, step, "transfer", tables, {"cells": _without_nan(cells)}, started)


def _failed_gates(settings: Json) -> list[tuple[str, str]]:
    """(family, target) of the teachers that did not show their trait, as their steps or their students' say."""
    lost = {role for role, why in settings["missing"].items() if LACKS_TRAIT in why}
    found = {(of["teacher_family"], of["taught"]) for role, of in settings["runs"].items() if role in lost}
    found |= {(of["family"], of["target"]) for role, of in settings.get("gates", {}).items() if role in lost}
    return sorted(found)


def make_report(store: Store, step: Step) -> Json:
    """Render the report of a transfer artifact; returns the record of the unit."""
    started = time.time()
    pages = report.render(content(store, step.settings["study"], step.inputs["transfer"]))
    return artifact.finish_unit(store, step, "report", pages, {}, started)


def content(store: Store, study: Json, path: str) -> report.ReportContent:
    """All that the report of a transfer artifact shows. `study`: its scientific settings."""
    matrix = artifact.require(store, path)
    lineage = list(_lineage(store, matrix))
    runs = artifact.read_table(store, matrix, RUNS)
    confidence = matrix.settings["measure"]["confidence"]
    return report.ReportContent(
        study_name=study["study"],
        settings_yaml=yaml.safe_dump(study, sort_keys=False),
        rehearsal=matrix.settings["rehearsal"],
        runs=runs,
        cells=artifact.read_table(store, matrix, CELLS),
        gates=[_gate(m) for m in lineage if "gate" in m.results],
        corpora=[_corpus(m) for m in lineage if m.kind == "corpus"],
        stages=_stages(lineage),
        lineage=[_ancestor(m) for m in lineage],
        suites=_suites(study),
        versions=matrix.produced["versions"],
        failures=[{"step": name, "why": why} for name, why in matrix.settings["missing"].items()],
        confidence=confidence,
        # Studies that were reported before there were such figures have no word of them.
        published=comparison(study.get("published", ()), runs, confidence),
        masses=_mass_summary(store, matrix),
        min_mass=_min_mass(matrix.settings),
        checks=checks.lifts(runs, matrix.settings["suites"], confidence),
        contrasts=contrasts.against_first(runs, _measure(matrix.settings), _failed_gates(matrix.settings)),
    )


def _mass_summary(store: Store, matrix: Manifest) -> list[Json]:
    """Nothing of a matrix that was measured before masses were recorded."""
    if not any(file.path == MASSES for file in matrix.files):
        return []
    return mass.summary(artifact.read_table(store, matrix, MASSES), _min_mass(matrix.settings))


def _suites(study: Json) -> dict[str, str]:
    """What each suite asks, as its class says."""
    suites = [TypeAdapter[Suite](Suite).validate_python(settings) for settings in study["suites"]]
    return {suite.name: (type(suite).__doc__ or "").partition("\n")[0] for suite in suites}


def _measure(settings: Json) -> Measure:
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
        min_mass=_min_mass(settings),
    )


def _min_mass(settings: Json) -> float:
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


def _lineage(store: Store, last: Manifest) -> Iterator[Manifest]:
    """A manifest and everything it was made from, each once, in the order of the stages."""
    found = {last.path: last}
    waiting = [last]
    while waiting:
        sources = {source["path"] for manifest in waiting for source in manifest.inputs.values()} - found.keys()
        waiting = at_once(partial(artifact.require, store), sorted(sources))
        found |= {manifest.path: manifest for manifest in waiting}
    return iter(sorted(found.values(), key=lambda m: (KINDS.index(m.kind), m.path)))


def _name(manifest: Manifest) -> str:
    return Path(manifest.path).name.removesuffix(f"-{manifest.id}")


def _gate(checked: Manifest) -> Json:
    """What a teacher, or the gate after it, measured."""
    gate = checked.results["gate"]
    return {
        "teacher": _name(checked),
        "target": gate["target"],
        "before": gate["base"],
        "after": gate["teacher"],
        "mass": min(gate["mass"].values()) if "mass" in gate else None,
        "threshold": gate["min_lift"],
        "passed": True,  # one that fails ends its step, and is among the failures
    }


def _corpus(corpus: Manifest) -> Json:
    results = corpus.results
    return {
        "teacher": _name(corpus),
        "raw_rows": results["judged"],
        "accepted": results["accepted"],
        "share": results["accepted"] / results["judged"],
        "reasons": results["reasons"],
    }


def _stages(lineage: list[Manifest]) -> list[Json]:
    """Work of each stage in seconds (summed over units), and how long it took from first start to last end."""
    rows = []
    for kind in KINDS:
        times = [m.produced for m in lineage if m.kind == kind and m.produced["seconds"]]
        if times:
            rows.append(
                {
                    "stage": kind,
                    "steps": len(times),
                    "seconds": sum(t["seconds"] for t in times),
                    "wall": max(t["ended"] for t in times) - min(t["started"] for t in times),
                }
            )
    return rows


def _ancestor(manifest: Manifest) -> Json:
    return {
        "kind": manifest.kind,
        "name": _name(manifest),
        "id": manifest.id,
        "digest": manifest.digest,
        "inputs": [source["path"].rsplit("-", 1)[1] for source in manifest.inputs.values()],
        "seconds": manifest.produced["seconds"],
    }
