"""Rates: seconds that finished steps of a kind took per unit of size.

The size of a step counts what takes the time: rows to train on, tokens to sample, rows to judge.
"""

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeAlias

from pipeline.core.errors import ArtifactError
from pipeline.stages import cost_of
from pipeline.stages.contract import Lookup
from pipeline.store import Store, artifact, parallel_map
from pipeline.store.step import Step

LISTED = 1_000  # maximum number of artifacts listed per kind
SAMPLED = 32  # maximum number of manifests read, of these or of a study's own finished steps

Alike: TypeAlias = str  # key of steps that run at a similar rate
MODEL = ("base", "model", "teacher", "judge")  # roles that lead from a step to the base that it uses
# Settings of a base that decide its speed.
SHAPE = ("kind", "architecture", "hidden_size", "intermediate_size", "layers", "repo", "content")


@dataclass(frozen=True)
class Rates:
    """Seconds per unit of size: by kind of similar steps, and over all; None if other steps have no rate."""

    by: Mapping[Alike, float]
    overall: float | None = None

    def work(self, steps: Iterable[Step], lookup: Lookup) -> float | None:
        """Seconds that these steps will take; None if one of them has no rate."""
        total = 0.0
        for step in steps:
            if amount := size(step, lookup):
                rate = self.by.get(alike(step, lookup), self.overall)
                if rate is None:
                    return None
                total += rate * amount
        return total


def of_own(store: Store, done: Sequence[Step], lookup: Lookup) -> Rates:
    """The rates of a study's own finished steps of one kind."""
    seen = done[:SAMPLED]
    seconds = [float(artifact.require(store, step.path).produced["seconds"]) for step in seen]
    found = [(alike(step, lookup), size(step, lookup), took) for step, took in zip(seen, seconds, strict=True)]
    return Rates(_by_alike(found), _pace([(amount, took) for _, amount, took in found]))


def of_others(store: Store, kind: str) -> Rates:
    """Rates from a sample of all finished artifacts of a kind under a root, for similar steps only."""
    names = store.folders(kind, limit=LISTED)
    spread = names[:: -(-len(names) // SAMPLED) or 1]
    lookup = cache(partial(_require, store))
    found = []
    for made in parallel_map(partial(_made, store), [f"{kind}/{name}" for name in spread]):
        # Skip an artifact whose inputs are gone or from another version.
        with contextlib.suppress(ArtifactError, LookupError, TypeError, ValueError):
            found += [(alike(step, lookup), size(step, lookup), took) for step, took in made]
    return Rates(_by_alike(found))


def _by_alike(found: Iterable[tuple[Alike, float, float]]) -> dict[Alike, float]:
    groups: dict[Alike, list[tuple[float, float]]] = defaultdict(list)
    for key, amount, took in found:
        groups[key].append((amount, took))
    return {key: pace for key, pairs in groups.items() if (pace := _pace(pairs)) is not None}


def _pace(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Seconds per unit of size, over (size, seconds) of several steps; None if the sizes add up to 0."""
    whole = sum(amount for amount, _ in pairs)
    return sum(took for _, took in pairs) / whole if whole else None


def size(step: Step, lookup: Lookup) -> float:
    """The amount of work of a step, in a unit that depends on its kind."""
    return cost_of(step, lookup).size


def alike(step: Step, lookup: Lookup) -> Alike:
    """A key of kind, engine, trainer, method, suite and judge of a step, and the shape of its base."""
    settings = step.settings
    recipe = settings.get("recipe") or (settings.get("training") or {}).get("recipe") or {}
    base = _base(step, lookup)
    family = base.settings["family"] if base else {}
    return json.dumps(
        [
            step.kind,
            settings.get("engine"),
            settings.get("trainer"),
            recipe.get("method"),
            (settings.get("suite") or {}).get("kind"),
            (settings.get("judge") or {}).get("kind"),
            settings.get("in_context") is not None,
            [family.get(name) for name in SHAPE],
        ]
    )


def _base(step: Step, lookup: Lookup) -> Step | None:
    if step.kind == "base":
        return step
    source = next((step.inputs[role] for role in MODEL if role in step.inputs), None)
    return _base(lookup(source), lookup) if source else None


def _made(store: Store, path: str) -> list[tuple[Step, float]]:
    """The step that made an artifact, and its seconds; [] if it is unfinished or unreadable."""
    try:
        manifest = artifact.load(store, path)
    except ArtifactError:
        return []
    return [(_step(manifest), float(manifest.produced["seconds"]))] if manifest else []


def _require(store: Store, path: str) -> Step:
    return _step(artifact.require(store, path))


def _step(manifest: artifact.Manifest) -> Step:
    inputs = {role: source["path"] for role, source in manifest.inputs.items()}
    return Step(manifest.kind, "", manifest.id, manifest.settings, inputs)
