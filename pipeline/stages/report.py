"""transfer -> report: the pages of a study, made from the manifests of all ancestors of its matrix."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import yaml

from pipeline.analysis import contrasts, kinship_curve, mass, screened, side_metrics
from pipeline.analysis.paper_results import comparison
from pipeline.core.reasons import words
from pipeline.core.settings import Settings
from pipeline.report import page
from pipeline.stages.contract import ANY_ROLE, Runtime, Stage
from pipeline.stages.kinship import STUDENT, TEACHER, TEXT
from pipeline.stages.transfer import CELLS, MASSES, RUNS, TransferSpec, failed_gates, measure_of
from pipeline.store import Store, artifact, parallel_map
from pipeline.store.artifact import Manifest
from pipeline.store.step import KINDS, Json, Step
from pipeline.study.schema import Study
from pipeline.suites import read_suite

MEASURED = ("kinship", "screening")  # kinds of step that the page shows besides the matrix and its gates


class ReportSpec(Settings):
    """study: the identity of a study."""

    study: dict[str, Any]


class Report(Stage[ReportSpec]):
    kind = "report"
    schema = 8
    Spec = ReportSpec
    inputs: ClassVar = {
        "transfer": "the matrix",
        ANY_ROLE: "the gates of the teachers; kinship of the families; what screens say of the corpora",
    }
    page = "report.html"

    def planned(self, study: Study, transfer: Step, measured: Mapping[str, str]) -> Step:
        """measured: role -> path of the gates, of the kinship of families, and of the screenings of corpora."""
        spec = ReportSpec(study=study.identity())
        return self.step(study.study, spec, {"transfer": transfer.path, **measured})

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        return _make(store, step, unit)

    def pages(self, store: Store, made: Manifest) -> dict[str, bytes]:
        return page.render(content(store, made.settings["study"], [source["path"] for source in made.inputs.values()]))


STAGE = Report()


def _make(store: Store, step: Step, unit: str) -> Json:
    """Render the report of a transfer artifact; returns the record of the unit."""
    started = time.time()
    shown = content(store, step.settings["study"], list(step.inputs.values()))
    results = {"kinship": _summary(shown.kinship)} if shown.kinship else {}
    return artifact.finish_unit(store, step, unit, page.render(shown), results, started)


def content(store: Store, study: Json, sources: Sequence[str]) -> page.ReportContent:
    """The content of a report. study: its identity. sources: paths of the matrix and of what else is shown."""
    lineage = list(_lineage(store, sources))
    matrix = next(manifest for manifest in lineage if manifest.kind == "transfer")
    spec = TransferSpec.from_identity(matrix.settings)
    runs = artifact.read_table(store, matrix, RUNS)
    cells = artifact.read_table(store, matrix, CELLS)
    looks, confidence = matrix.results["looks"], matrix.results["confidence"]
    settings, failed = measure_of(spec, len(looks)), failed_gates(spec)
    kinship = _kinship(lineage)
    return page.ReportContent(
        study_name=study["study"],
        settings_yaml=yaml.safe_dump(study, sort_keys=False),
        smoke_test=spec.smoke_test,
        runs=runs,
        cells=cells,
        gates=[_gate(m) for m in lineage if m.kind == "gate"],
        corpora=[_corpus(m) for m in lineage if m.kind == "corpus"],
        stages=_stages(lineage),
        lineage=[_ancestor(m) for m in lineage],
        suites=_suites(study),
        versions=matrix.produced["versions"],
        failures=[_failure(lost) for lost in matrix.results["missing"]],
        confidence=confidence,
        looks=looks,
        primary=(spec.primary_suite, spec.primary_metric),
        paper_results=comparison(study["paper_results"], runs, confidence),
        masses=mass.summary(artifact.read_table(store, matrix, MASSES), spec.measure.min_mass),
        min_mass=spec.measure.min_mass,
        side_metrics=side_metrics.lifts(runs, spec.suites, confidence),
        contrasts=contrasts.against_first(runs, settings, failed),
        kinship=kinship_curve.curve(runs, cells, settings, kinship, failed) if kinship else None,
        screened=screened.agreements(list(_screened(lineage, runs, spec.primary_suite)), spec.measure.margin_nats),
    )


def _failure(lost: Json) -> Json:
    return {"step": lost["step"], "why": lost["why"] or words(lost["reason"])}


def _suites(study: Json) -> dict[str, str]:
    """Name of each suite -> first line of its class's docstring."""
    suites = [read_suite(settings) for settings in study["suites"]]
    return {suite.name: (type(suite).__doc__ or "").partition("\n")[0] for suite in suites}


def _lineage(store: Store, paths: Sequence[str]) -> Iterator[Manifest]:
    """These artifacts and all their ancestors, each once, in the order of the stages."""
    found: dict[str, Manifest] = {}
    sources = set(paths)
    while sources:
        read = parallel_map(partial(artifact.require, store), sorted(sources))
        found |= {manifest.path: manifest for manifest in read}
        sources = {source["path"] for manifest in read for source in manifest.inputs.values()} - found.keys()
    return iter(sorted(found.values(), key=lambda m: (KINDS.index(m.kind), m.path)))


def _name(manifest: Manifest) -> str:
    return Path(manifest.path).name.removesuffix(f"-{manifest.id}")


def _gate(gate: Manifest) -> Json:
    """The measurements of a gate."""
    found = gate.results
    masses = [found[name] for name in ("base_mass", "teacher_mass") if found[name] is not None]
    return {
        "teacher": _name(gate),
        "target": found["target"],
        "before": found["base"],
        "after": found["teacher"],
        "mass": min(masses, default=None),
        "threshold": found["min_lift"],
        "passed": found["passed"],
    }


def _kinship(lineage: Sequence[Manifest]) -> dict[kinship_curve.Pair, Json]:
    """Channel and families -> how alike their bases are."""
    channels = {m.path: m.settings["channel"]["kind"] for m in lineage if m.kind == "corpus"}
    names = {m.path: _name(m) for m in lineage if m.kind == "base"}
    return {
        kinship_curve.Pair(channels[m.input(TEXT)], names[m.input(TEACHER)], names[m.input(STUDENT)]): m.results
        for m in lineage
        if m.kind == "kinship"
    }


def _screened(lineage: Sequence[Manifest], runs: pa.Table, suite: str) -> Iterator[screened.Pair]:
    """Every score of a target by a screen of a corpus, with what students of that base and corpus then picked up."""
    students = {m.id: (m.input("corpus"), m.input("base")) for m in lineage if m.kind == "student"}
    lifts: dict[tuple[str, str, str], list[float]] = {}
    own: dict[tuple[str, str], bool] = {}
    for run in runs.to_pylist():
        if run["suite"] == suite and run["margin"] is not None and run["student"] in students:
            read = students[run["student"]]
            own[read] = run["teacher_family"] == run["student_family"]
            lifts.setdefault((*read, run["target"]), []).append(run["margin"] - run["base_margin"])
    for made in (m for m in lineage if m.kind == "screening"):
        read = made.input("rows"), made.input("base")
        for screen, found in made.results.items():
            for target, score in found["targets"].items():
                if values := lifts.get((*read, target)):
                    yield screened.Pair(screen, own[read], read[0], target, score["score"], sum(values) / len(values))


def _summary(found: kinship_curve.Curve) -> Json:
    """What the page says of the measures: the best first, with the error of its predictions."""
    return {"errors": {one.name: one.error for one in found.predictions}, "metric": found.metric}


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
    """What each stage took; page.ReportContent names the columns."""
    rows = []
    for kind in KINDS:
        made = [m for m in lineage if m.kind == kind and m.produced["seconds"]]
        if made:
            times = [m.produced for m in made]
            rows.append(
                {
                    "stage": kind,
                    "steps": len(times),
                    "seconds": sum(t["seconds"] for t in times),
                    "wall": max(t["ended"] for t in times) - min(t["started"] for t in times),
                    "busy": _covered([(t["started"], t["ended"]) for t in times]),
                    "prompt_tokens": sum(m.results.get("prompt_tokens", 0) for m in made),
                    "tokens": sum(_tokens(m) for m in made),
                }
            )
    return rows


def _tokens(made: Manifest) -> int:
    """The tokens that a step generated or trained on."""
    found: int = made.results.get("completion_tokens") or made.results.get("tokens") or 0
    return found


def _covered(intervals: Sequence[tuple[float, float]]) -> float:
    """The length of the union of intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(end, reached) - max(start, reached)
        reached = max(end, reached)
    return total


def _ancestor(manifest: Manifest) -> Json:
    return {
        "kind": manifest.kind,
        "name": _name(manifest),
        "id": manifest.id,
        "digest": manifest.digest,
        "inputs": [source["path"].rsplit("-", 1)[1] for source in manifest.inputs.values()],
        "seconds": manifest.produced["seconds"],
    }
