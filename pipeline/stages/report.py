"""transfer -> report: the pages of a study, made from the manifests of everything that led to its matrix."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import yaml
from pydantic import TypeAdapter

from pipeline.analysis import checks, contrasts, mass
from pipeline.analysis.published import comparison
from pipeline.report import page
from pipeline.stages.contract import Runtime, Stage
from pipeline.stages.transfer import CELLS, MASSES, RUNS, failed_gates, measure_of, min_mass_of
from pipeline.store import Store, artifact, at_once
from pipeline.store.artifact import Manifest
from pipeline.store.step import KINDS, Json, Step
from pipeline.suites import Suite


class Report(Stage):
    kind = "report"

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        return _make(store, step, unit)


STAGE = Report()


def _make(store: Store, step: Step, unit: str) -> Json:
    """Render the report of a transfer artifact; returns the record of the unit."""
    started = time.time()
    pages = page.render(content(store, step.settings["study"], step.inputs["transfer"]))
    return artifact.finish_unit(store, step, unit, pages, {}, started)


def content(store: Store, study: Json, path: str) -> page.ReportContent:
    """All that the report of a transfer artifact shows. `study`: its scientific settings."""
    matrix = artifact.require(store, path)
    lineage = list(_lineage(store, matrix))
    runs = artifact.read_table(store, matrix, RUNS)
    confidence = matrix.settings["measure"]["confidence"]
    return page.ReportContent(
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
        min_mass=min_mass_of(matrix.settings),
        checks=checks.lifts(runs, matrix.settings["suites"], confidence),
        contrasts=contrasts.against_first(runs, measure_of(matrix.settings), failed_gates(matrix.settings)),
    )


def _mass_summary(store: Store, matrix: Manifest) -> list[Json]:
    """Nothing of a matrix that was measured before masses were recorded."""
    if not any(file.path == MASSES for file in matrix.files):
        return []
    return mass.summary(artifact.read_table(store, matrix, MASSES), min_mass_of(matrix.settings))


def _suites(study: Json) -> dict[str, str]:
    """What each suite asks, as its class says."""
    suites = [TypeAdapter[Suite](Suite).validate_python(settings) for settings in study["suites"]]
    return {suite.name: (type(suite).__doc__ or "").partition("\n")[0] for suite in suites}


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
