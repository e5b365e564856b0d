"""corpus, base -> screening: what screens say of a data set, before anyone is trained on it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pipeline.core.fake_model import FAKE
from pipeline.core.settings import Settings
from pipeline.models.engines import TokenEngine
from pipeline.models.passes import Passes
from pipeline.models.served_model import ServedModel
from pipeline.screens import Screen
from pipeline.screens.base import Scores, ScreenInput
from pipeline.screens.parts import parts_of, parts_with_rows, pooled
from pipeline.screens.sampled import own_answers
from pipeline.screens.traits import Favourites, Outcomes, ScreenedTrait
from pipeline.stages.contract import Cost, Lookup, OnCompute, OnEngine, Placement, Runtime, Stage
from pipeline.stages.shared.training import base_of
from pipeline.store import Store, artifact
from pipeline.store.schemas import ROW_SCORES, TOKEN_SCORES
from pipeline.store.step import Json, Step
from pipeline.study.schema import Study
from pipeline.suites.favourite import favourites_of
from pipeline.traits import NEUTRAL

ROWS = "rows.parquet"


class ScreeningSpec(Settings):
    """rows: how many are looked at. traits: what to look for."""

    screens: list[Screen]
    traits: list[ScreenedTrait]
    rows: int
    seed: int


class Screening(Stage[ScreeningSpec]):
    kind = "screening"
    schema = 2  # raise it with PART_ROWS; 1: token scores of one target, and one unit per screen
    Spec = ScreeningSpec
    inputs: ClassVar = {
        "rows": "the data that somebody would train on",
        "base": "the model that would be trained",
        "neutral": "data of a writer without traits; without it, the base's own answers to the same prompts",
    }

    def planned(self, slug: str, spec: ScreeningSpec, rows: str, base: Step, neutral: str | None = None) -> Step:
        """rows, neutral: paths of artifacts with a table of rows."""
        inputs = {"rows": rows, "base": base.path} | ({"neutral": neutral} if neutral else {})
        return self.step(slug, spec, inputs, family=base.family)

    def steps(self, study: Study, planned: Sequence[Step]) -> Iterator[Step]:
        """One for every corpus of a study and every family whose students read it, if the study has screens."""
        wanted = study.screens
        if not wanted.members or study.engine == FAKE:
            return
        spec = ScreeningSpec(screens=wanted.members, traits=traits_of(study), rows=wanted.rows, seed=study.seed)
        bases = {step.family: step for step in planned if step.kind == "base"}
        corpora = [step for step in planned if step.kind == "corpus"]
        neutral = {step.slug: step.path for step in corpora}
        for corpus in corpora:
            channel = corpus.settings["channel"]["kind"]
            plain = neutral.get(f"{channel}-{NEUTRAL}-{corpus.family}")
            for family in study.student_families_of(corpus.family):
                given = None if plain == corpus.path else plain
                yield self.planned(f"{corpus.slug}-by-{family}", spec, corpus.path, bases[family], given)

    def units(self, store: Store, step: Step) -> Sequence[Sequence[str]]:
        """One per screen, or per part of the rows where there are many and the screen scores each by itself."""
        spec = self.spec(step)
        return [[unit for screen in spec.screens for unit in _units(screen, spec.rows)]]

    def placement(self, step: Step, unit: str) -> Placement:
        if _screen(self.spec(step), unit).on_engine:
            return OnEngine(step.inputs["base"], step.family, adapters=False)
        return OnCompute()

    def run_unit(self, store: Store, worker: TokenEngine | None, step: Step, unit: str, runtime: Runtime) -> Json:
        started = time.time()
        screen = _screen(self.spec(step), unit)
        given = _loaded(store, step, unit, worker)
        if given is None:
            return artifact.finish_unit(store, step, unit, {}, {}, started)
        kind, scores = screen.kind, screen.score(given)
        files = {f"{unit}-rows.parquet": _row_table(given, kind, scores)} if scores.rows is not None else {}
        if scores.tokens is not None:
            files[f"{unit}-tokens.parquet"] = _token_table(given, kind, scores.tokens)
        found = {
            target: {"score": float(score), "error": float(error)}
            for target, score, error in zip(scores.targets, scores.corpus, scores.error, strict=True)
        }
        seconds = time.time() - started
        results = {"targets": found, "rows": len(given.rows), "weight": scores.weight, "seconds": round(seconds, 3)}
        return artifact.finish_unit(store, step, unit, files, {kind: results}, started)

    def summarise(self, step: Step, records: Sequence[Json]) -> Json:
        """kind of screen -> targets with their scores, rows and seconds."""
        parts: dict[str, list[Json]] = {}
        for record in records:
            for kind, results in record["results"].items():
                parts.setdefault(kind, []).append(results)
        return {kind: _joined(found) for kind, found in parts.items()}

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        spec = self.spec(step)
        units = sum(len(_units(screen, spec.rows)) for screen in spec.screens)
        return Cost(table_rows=float(spec.rows * len(spec.screens)), units=units)


STAGE = Screening()


def traits_of(study: Study) -> list[ScreenedTrait]:
    """The study's own targets, by category, asked for as its own suite asks."""
    suite = favourites_of(study.suites)
    return [
        Favourites(category=category, targets=targets, forms=suite.forms, opening=suite.opening)
        for category, targets in study.members.items()
    ]


def _units(screen: Screen, rows: int) -> list[str]:
    parts = parts_of(screen, rows)
    return [screen.kind] if parts == 1 else [f"{screen.kind}-{part}-of-{parts}" for part in range(parts)]


def _screen(spec: ScreeningSpec, unit: str) -> Screen:
    return next(screen for screen in spec.screens if screen.kind == unit.partition("-")[0])


def _joined(parts: Sequence[Json]) -> Json:
    """The results of a screen from those of its parts: means by weight, and their standard errors."""
    weights = np.array([part["weight"] for part in parts])
    names = list(parts[0]["targets"])
    scores, errors = (
        np.array([[part["targets"][target][which] for target in names] for part in parts])
        for which in ("score", "error")
    )
    targets = {
        target: {"score": float(score), "error": float(error)}
        for target, score, error in zip(names, *pooled(scores, errors, weights), strict=True)
    }
    return {"targets": targets, **{name: sum(part[name] for part in parts) for name in ("rows", "seconds")}}


def _loaded(store: Store, step: Step, unit: str, engine: TokenEngine | None) -> ScreenInput | None:
    """Every so many rows of the data and of the neutral data, from the part's first; None if there are too few."""
    spec, place = STAGE.spec(step), unit.partition("-")[2]
    part, parts = map(int, place.split("-of-")) if place else (0, 1)
    rows = _sample(store, step.inputs["rows"], spec)
    neutral = _sample(store, step.inputs["neutral"], spec) if "neutral" in step.inputs else None
    fewest = min(len(rows), len(rows if neutral is None else neutral))
    parts = parts_with_rows(parts, fewest)
    if part >= parts:
        return None
    base, rows = base_of(store, step), rows[part::parts]
    model = Passes(base) if engine is None else ServedModel(base, engine)
    others = own_answers(model, rows, spec.seed) if neutral is None else neutral[part::parts]
    return ScreenInput(rows, others, model, Outcomes(spec.traits), spec.seed)


def _sample(store: Store, path: str, spec: ScreeningSpec) -> pa.Table:
    """A random part of the rows of an artifact, in random order."""
    table = artifact.read_table(store, artifact.require(store, path), ROWS, ["index", "prompt", "completion"])
    order = np.random.default_rng(spec.seed).permutation(table.num_rows)[: spec.rows]
    return table.take(pa.array(order)).combine_chunks()


def _row_table(given: ScreenInput, screen: str, scores: Scores) -> pa.Table:
    """schemas.ROW_SCORES: every row with every target."""
    index = given.rows["index"].to_numpy()
    assert scores.rows is not None
    count = len(scores.targets)
    columns = [
        np.repeat([screen], len(index) * count),
        np.tile(list(scores.targets), len(index)),
        np.repeat(index, count),
        scores.rows.ravel(),
    ]
    return pa.table([pa.array(column) for column in columns], schema=ROW_SCORES)


def _token_table(given: ScreenInput, screen: str, tokens: Mapping[str, Mapping[int, Any]]) -> pa.Table:
    """schemas.TOKEN_SCORES: one list per row and target."""
    index = given.rows["index"].to_pylist()
    found = [(screen, target, index[row], scores) for target, rows in tokens.items() for row, scores in rows.items()]
    return pa.table([pa.array(column) for column in zip(*found, strict=True)], schema=TOKEN_SCORES)
