"""The lineage that signed statements tell: edges are *attested*."""

from collections.abc import Mapping, Sequence
from typing import cast, get_args

from pipeline.core.lineage_graph import MANIFEST, Edge, Evidence, Graph, Kind, Node, Relation
from pipeline.provenance.attestation.policy import Trust
from pipeline.provenance.attestation.statement import Attested, Refused
from pipeline.provenance.lineage_file import kind_of


def graph_of(contents: Sequence[bytes], source: str, trust: Trust) -> Graph:
    """The graph of the envelopes of a bundle. Those that prove nothing are problems."""
    graph = Graph()
    statements: list[tuple[str, Attested]] = []
    for number, content in enumerate(contents, 1):
        place = f"{source}, line {number}"
        try:
            said = trust.read(content)
        except Refused as why:
            graph.problems.append(f"{place}: {why}")
            continue
        if said.node in get_args(Kind):
            statements.append((place, said))
            graph.add(Node(said.path, cast(Kind, said.node), ((MANIFEST, said.digest),)))
    digests = {said.path: said.digest for _, said in statements}
    for place, said in statements:
        _relate(graph, place, said, digests)
    return graph


def _relate(graph: Graph, place: str, said: Attested, digests: Mapping[str, str]) -> None:
    wanted = dict(said.inputs.values())
    for relation, parent, kind, share in said.edges:
        if relation not in get_args(Relation):
            graph.problems.append(f"{place}: unknown relation {relation[:80]!r}")
            continue
        named = cast(Relation, relation)
        evidence: Evidence = "attested"
        if parent in digests and wanted.get(parent, digests[parent]) != digests[parent]:
            graph.problems.append(f"{said.path} was made from another {parent} than the one that is signed")
            evidence = "declared"
        if parent not in graph.nodes:
            own = cast(Kind, said.node) if named == "merged_from" else kind_of(named, child=False)
            graph.add(Node(parent, cast(Kind, kind) if kind in get_args(Kind) else own))
        graph.relate(Edge(said.path, named, parent, evidence, f"{place}: signed by {said.key}", share))
