"""Everything that the formats tell of one artifact, collected once."""

import json
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from graphlib import TopologicalSorter
from typing import Any

from pipeline.core.errors import ArtifactError, InputError
from pipeline.core.fake_model import FAKE
from pipeline.core.lineage_graph import TEACHING, Edge, Graph, Kind, Reached, by_end
from pipeline.provenance.exports.measurements import Measurement, measurements
from pipeline.provenance.family import WEIGHTS
from pipeline.store import Store, artifact, parallel_map
from pipeline.store.artifact import Manifest
from pipeline.store.step import KINDS

MODELS = ("base", "teacher", "student")
DATA = ("dataset", "completions", "corpus")
SOURCES = ("merged_from", "prompted_by")  # of a data set: where rows or their prompts come from
CONFIG = "model/config.json"  # of a base
SMOKE_TEST = "SMOKE TEST: a stand-in took the place of a model or of its training."


@dataclass(frozen=True)
class Subject:
    """An artifact and what is known of it.

    root        where it lies, as `open_store` takes it
    steps       path -> manifest of it and of everything it was made with, inputs first
    digests     path -> SHA-256 of the manifest that it, or what it was made with, was made from
    lineage     it, its ancestors and the edges among them, with the best evidence of each
    ancestors   the fewest generations first
    measured    what finished studies of the root have measured of it
    config      config.json of the model that it is or adapts; empty if there is none
    problems    what could not be read, one line each
    """

    root: str
    made: Manifest
    steps: Mapping[str, Manifest]
    digests: Mapping[str, str]
    lineage: Graph
    ancestors: Sequence[Reached]
    measured: Sequence[Measurement]
    config: Mapping[str, Any]
    problems: Sequence[str]

    @property
    def smoke_test(self) -> bool:
        """Whether a stand-in took the place of a model or of its training."""
        return any(FAKE in (one.settings.get("engine"), one.settings.get("trainer")) for one in self.steps.values())

    def kind(self, name: str) -> Kind:
        """What a node is, also where its artifact is gone."""
        made = name.partition("/")[0]
        return "model" if made in MODELS else "data set" if made in DATA else self.lineage.nodes[name].kind

    def require(self, kinds: Collection[str], wanted: str) -> None:
        """Raise InputError unless the artifact is of one of these kinds. wanted: what the format describes."""
        if self.made.kind not in kinds:
            near = [path for path, manifest in self.steps.items() if manifest.kind in kinds]
            such = f"; of what it was made with: {', '.join(near[:5])}" if near else ""
            raise InputError(
                f"{self.made.path} is a {self.made.kind}, and this format describes {wanted}: name an artifact of kind "
                f"{', '.join(kinds)}{such}"
            )

    def parents(self, child: str, *relations: str) -> list[Edge]:
        return [edge for edge in self.lineage.edges if edge.child == child and edge.relation in relations]

    def follow(self, start: str, relations: Collection[str]) -> dict[str, Edge]:
        """What is reached from a node by edges of these relations alone, the nearest first -> the edge to it."""
        edges = by_end(self.lineage.edges, "child")
        found: dict[str, Edge] = {}
        waiting = deque([start])
        while waiting:
            for edge in edges.get(waiting.popleft(), ()):
                if edge.relation in relations and edge.parent not in found and edge.parent != start:
                    found[edge.parent] = edge
                    waiting.append(edge.parent)
        return found

    def weights(self, model: str) -> dict[str, Edge]:
        """What a model's weights came from, the nearest first; the last ones are initialisations."""
        return self.follow(model, WEIGHTS)

    def authors(self, data: str) -> list[Edge]:
        """The edges to whatever wrote rows of a data set, or of what it was put together from."""
        return [edge for name in (data, *self.follow(data, SOURCES)) for edge in self.parents(name, TEACHING)]


def is_artifact(name: str) -> bool:
    """Whether a node of a lineage is an artifact of a root."""
    return name.partition("/")[0] in KINDS


def collect(store: Store, made: Manifest, graph: Graph) -> Subject:
    """graph: a lineage that has the artifact and its ancestors.

    Raises ArtifactError if the configuration of its model is damaged.
    """
    steps = _steps(store, made)
    ancestors = graph.ancestors(made.path) if made.path in graph.nodes else []
    kept = {made.path, *(one.node.id for one in ancestors)}
    nodes = {name: node for name, node in graph.nodes.items() if name in kept}
    edges = [edge for edge in graph.strongest() if edge.child in kept and edge.parent in kept]
    problems: list[str] = []
    sources = (source for one in steps.values() for source in one.inputs.values())
    return Subject(
        root=store.root,
        made=made,
        steps=steps,
        digests={source["path"]: source["manifest"] for source in sources} | {made.path: made.digest},
        lineage=Graph(nodes, edges),
        ancestors=ancestors,
        measured=measurements(store, made, problems) if made.kind == "student" else [],
        config=_config(store, made, steps),
        problems=problems,
    )


def _steps(store: Store, made: Manifest) -> dict[str, Manifest]:
    """Without inputs that are gone, or that are another than the one that was used."""
    found = {made.path: made}
    level = [made]
    while level:
        sources = (source for one in level for source in one.inputs.values())
        wanted = {source["path"]: source["manifest"] for source in sources if source["path"] not in found}
        level = [one for one in parallel_map(partial(_intact, store), wanted.items()) if one is not None]
        found |= {one.path: one for one in level}
    needs = {path: [s["path"] for s in found[path].inputs.values() if s["path"] in found] for path in sorted(found)}
    return {path: found[path] for path in TopologicalSorter(needs).static_order()}


def _intact(store: Store, source: tuple[str, str]) -> Manifest | None:
    path, digest = source
    try:
        found = artifact.load(store, path)
    except ArtifactError:
        return None
    return found if found is not None and found.digest == digest else None


def _config(store: Store, made: Manifest, steps: Mapping[str, Manifest]) -> dict[str, Any]:
    base = made if made.kind == "base" else steps.get(made.inputs.get("base", {}).get("path", ""))
    if base is None or CONFIG not in {file.path for file in base.files}:
        return {}
    try:
        found = json.loads(artifact.read(store, base, CONFIG))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
