"""The lineage of a root: what its manifests say of the models and data sets that were made under it.

An input's digest is compared with the manifest that it names. Where they agree, the edge is *measured*: this pipeline
made the child from exactly that parent. What cannot be compared is *declared*.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.errors import ArtifactError
from pipeline.core.lineage_graph import MANIFEST, Edge, Evidence, Graph, Kind, Node, Relation
from pipeline.store import Store, artifact, parallel_map
from pipeline.store.artifact import Manifest
from pipeline.store.step import KINDS
from pipeline.store.verify import artifacts


@dataclass(frozen=True)
class Parent:
    """What a step was made with. node: the role of an input, or a thing that is no artifact.

    field: of the manifest, that says so. share: of the step's rows (of 1) that come from it, if known.
    """

    relation: Relation
    node: str | Node
    field: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Made:
    """The place of a step in a lineage. details: of its node, besides the manifest's digest."""

    kind: Kind
    parents: Sequence[Parent]
    details: Sequence[tuple[str, str]] = ()


Lineage = Callable[[Manifest], Made | None]


def read_root(store: Store, lineage: Lineage) -> Graph:
    """The graph of every finished model and data set under a root. lineage: of a manifest; None if it is neither."""
    problems: list[str] = []
    paths = [path for kind in KINDS for path in artifacts(store, kind)]
    return _graph_of(parallel_map(lambda path: load_or_tell(store, path, problems), paths), lineage, problems)


def read_ancestors(store: Store, path: str, lineage: Lineage) -> Graph:
    """The graph of an artifact and of everything that it was made from. Nothing else under the root is read."""
    problems: list[str] = []
    return _graph_of(load_ancestors(store, path, problems).values(), lineage, problems)


def load_ancestors(store: Store, path: str, problems: list[str]) -> dict[str, Manifest | None]:
    """The manifests of an artifact and of everything that it was made from, by path, the nearest first."""
    loaded: dict[str, Manifest | None] = {}
    waiting = [path]
    while waiting:
        found = parallel_map(lambda one: load_or_tell(store, one, problems), waiting)
        loaded |= dict(zip(waiting, found, strict=True))
        inputs = {source["path"] for manifest in found if manifest for source in manifest.inputs.values()}
        waiting = sorted(inputs - loaded.keys())
    return loaded


def _graph_of(loaded: Iterable[Manifest | None], lineage: Lineage, problems: list[str]) -> Graph:
    graph = Graph(problems=problems)
    made = {
        manifest.path: (manifest, place)
        for manifest in loaded
        if manifest is not None and (place := _place(manifest, lineage, graph.problems)) is not None
    }
    digests = {path: manifest.digest for path, (manifest, _) in made.items()}
    for path, (manifest, place) in made.items():
        graph.add(Node(path, place.kind, ((MANIFEST, manifest.digest), *place.details)))
    for manifest, place in made.values():
        for parent in place.parents:
            graph.relate(_edge(graph, manifest, parent, digests))
    return graph


def load_or_tell(store: Store, path: str, problems: list[str]) -> Manifest | None:
    """The manifest of an artifact; None if it is unfinished or, which becomes a problem, cannot be read."""
    try:
        return artifact.load(store, path)
    except ArtifactError as error:
        if str(error) not in problems:
            problems.append(str(error))
        return None


def _place(manifest: Manifest, lineage: Lineage, problems: list[str]) -> Made | None:
    try:
        return lineage(manifest)
    except (KeyError, TypeError, ValueError):
        problems.append(f"{manifest.path} was written by a version of undertow whose settings this one cannot read")
        return None


def _edge(graph: Graph, child: Manifest, parent: Parent, digests: Mapping[str, str]) -> Edge:
    said = f"{child.path}/manifest.json: "
    if isinstance(parent.node, Node):
        there = graph.add(parent.node)
        return Edge(child.path, parent.relation, there, "measured", f"{said}{parent.field}", parent.share)
    source = child.inputs[parent.node]
    path, evidence = source["path"], _evidence(graph, child, source, digests)
    return Edge(child.path, parent.relation, path, evidence, f"{said}inputs.{parent.node}", parent.share)


def _evidence(graph: Graph, child: Manifest, source: Mapping[str, str], digests: Mapping[str, str]) -> Evidence:
    path = source["path"]
    if digests.get(path) == source["manifest"]:
        return "measured"
    if path in digests:
        graph.problems.append(f"{child.path} was made from another {path} than the one that is there")
    else:
        graph.problems.append(f"{child.path} was made from {path}, which is not there")
        graph.add(Node(path, "external source"))
    return "declared"
