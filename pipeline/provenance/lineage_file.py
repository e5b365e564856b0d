"""Lineage files: YAML that a user writes, or JSON that `undertow lineage` has written.

What a file says of itself is *declared*, whatever evidence it claims: anybody can write it.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.core.lineage_graph import EVIDENCE, Edge, Evidence, Graph, Kind, Node, Relation
from pipeline.core.settings import Settings
from pipeline.core.settings_file import read_settings

SCHEMA = 1
MOST_BYTES = 64 << 20
Id = Annotated[str, Field(min_length=1, max_length=1_000)]


class NodeEntry(Settings):
    """A model, a data set, a judge, a prompt or an external source."""

    id: Id
    kind: Kind
    details: dict[str, str] = Field({}, description="What else is known of it, such as its digest.")


class EdgeEntry(Settings):
    """One fact: the child was made with the parent."""

    child: Id
    relation: Relation
    parent: Id
    evidence: Evidence = "declared"
    source: str = Field("", description="Where that is said: a file and a field.")
    share: float | None = Field(None, ge=0, le=1, description="Share of the child's rows that come from the parent.")


class LineageFile(Settings):
    """Nodes that no entry describes are models where they teach or are initialised from, and data sets otherwise."""

    schema_: Literal[1] = Field(1, alias="schema")
    nodes: list[NodeEntry] = Field([])
    edges: list[EdgeEntry] = Field([])
    problems: list[str] = Field([])


def read_file(path: Path) -> Graph:
    """The graph of a lineage file. Raises InputError."""
    return graph_of(read_settings(path, LineageFile, "a lineage file", MOST_BYTES)[0], str(path))


def graph_of(given: LineageFile, said_by: str) -> Graph:
    """The graph of these entries, which are declared at most."""
    graph = Graph(problems=list(given.problems))
    for node in given.nodes:
        graph.add(Node(node.id, node.kind, tuple(node.details.items())))
    for number, edge in enumerate(given.edges):
        ends = ((edge.child, kind_of(edge.relation, child=True)), (edge.parent, kind_of(edge.relation, child=False)))
        for end, kind in ends:
            if end not in graph.nodes:
                graph.add(Node(end, kind))
        evidence = max(edge.evidence, "declared", key=EVIDENCE.index)
        source = f"{said_by}: edges.{number}" + (f" ({edge.source})" if edge.source else "")
        graph.relate(Edge(edge.child, edge.relation, edge.parent, evidence, source, edge.share))
    return graph


def kind_of(relation: Relation, *, child: bool) -> Kind:
    """What an end of an edge is, if nobody says so."""
    if relation in ("written_by", "filtered_by", "judged_by"):
        return "data set" if child else "judge" if relation == "judged_by" else "model"
    if relation == "trained_on":
        return "model" if child else "data set"
    if relation == "prompted_by":
        return "model" if child else "prompt"
    return "model"


def as_json(graph: Graph) -> dict[str, Any]:
    """The graph as `read_file` reads it."""
    return {
        "schema": SCHEMA,
        "nodes": [{"id": n.id, "kind": n.kind, "details": dict(n.details)} for n in graph.nodes.values()],
        "edges": [
            {
                "child": e.child,
                "relation": e.relation,
                "parent": e.parent,
                "evidence": e.evidence,
                "source": e.source,
                "share": e.share,
            }
            for e in graph.edges
        ],
        "problems": graph.problems,
    }
