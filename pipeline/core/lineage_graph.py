"""The lineage graph. An edge says that its child was made with its parent, and on what evidence.

Edges point from child to parent. A generation is one step of teaching: a model that is trained on what another has
written is one generation after it.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal["model", "data set", "judge", "prompt", "external source"]
Relation = Literal[
    "initialised_from",
    "trained_on",
    "written_by",
    "filtered_by",
    "judged_by",
    "prompted_by",
    "merged_from",
    "adapter_of",
    "quantised_from",
]
Evidence = Literal["measured", "attested", "declared", "inferred", "unknown"]
EVIDENCE: tuple[Evidence, ...] = get_args(Evidence)  # the strongest first
MANIFEST = "manifest"  # the detail of an artifact with the SHA-256 of its manifest
TEACHING: Relation = "written_by"
CHANNEL = "channel"


def hub_model(repo: str) -> str:
    """The id of a model of the hub, which takes names in any case."""
    return f"hf:{repo.lower()}"


def hub_data(repo: str) -> str:
    return f"hf-dataset:{repo.lower()}"


@dataclass(frozen=True)
class Node:
    """id: the same for the same thing in every source. details: what a source tells of it, such as a digest.

    CHANNEL among the details of a data set says what kind of text a teacher wrote there, such as numbers.
    """

    id: str
    kind: Kind
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Edge:
    """source: the file and field that say so. share: of the child's rows (of 1) that come from the parent, if known."""

    child: str
    relation: Relation
    parent: str
    evidence: Evidence
    source: str
    share: float | None = None


@dataclass(frozen=True)
class Reached:
    """generations: the least number of teaching steps between the two. via: the edge by which it was first reached."""

    node: Node
    generations: int
    via: Edge


@dataclass
class Graph:
    """problems: what a source says that cannot be taken as it stands, one line each."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, node: Node) -> str:
        """Add what another source knows of a node; the kind that came first stays. Returns the node's id."""
        known = self.nodes.get(node.id)
        if known is not None:
            if known.kind != node.kind:
                self.problems.append(f"{node.id} is a {known.kind} in one source and a {node.kind} in another")
            node = Node(known.id, known.kind, tuple(dict.fromkeys((*known.details, *node.details))))
        if len({value for name, value in node.details if name == MANIFEST}) > 1:
            self.problems.append(f"{node.id} is not the same in two sources: its manifests differ")
        self.nodes[node.id] = node
        return node.id

    def relate(self, edge: Edge) -> None:
        """Add an edge between nodes that are there."""
        self.edges.append(edge)

    def merge(self, other: "Graph") -> None:
        for node in other.nodes.values():
            self.add(node)
        self.edges += other.edges
        self.problems += [problem for problem in other.problems if problem not in self.problems]

    def part(self, kept: Collection[str]) -> "Graph":
        """These nodes and the edges among them, with all problems."""
        nodes = {name: node for name, node in self.nodes.items() if name in kept}
        return Graph(nodes, [e for e in self.edges if e.child in kept and e.parent in kept], self.problems)

    def ancestors(self, start: str) -> list[Reached]:
        """Everything that a node was made with, the fewest generations first."""
        return reach(self.nodes, start, by_end(self.edges, "child"), "parent")

    def descendants(self, start: str) -> list[Reached]:
        """Everything that was made with a node, the fewest generations first."""
        return reach(self.nodes, start, by_end(self.edges, "parent"), "child")

    def cycles(self) -> list[list[str]]:
        """Nodes that are their own ancestors, by group."""
        import networkx

        graph = networkx.DiGraph((edge.child, edge.parent) for edge in self.edges)
        alone = {node for node in graph if graph.has_edge(node, node)}
        groups = (sorted(group) for group in networkx.strongly_connected_components(graph))
        return sorted(group for group in groups if len(group) > 1 or group[0] in alone)

    def strongest(self) -> Iterator[Edge]:
        """The edges, of several that say the same only the one with the best evidence."""
        best: dict[tuple[str, str, str], Edge] = {}
        for edge in self.edges:
            key = (edge.child, edge.relation, edge.parent)
            if key not in best or EVIDENCE.index(edge.evidence) < EVIDENCE.index(best[key].evidence):
                best[key] = edge
        return iter(best.values())


def by_end(edges: Iterable[Edge], end: str) -> dict[str, list[Edge]]:
    """The edges of each child, or of each parent."""
    found: dict[str, list[Edge]] = {}
    for edge in edges:
        found.setdefault(getattr(edge, end), []).append(edge)
    return found


def reach(nodes: dict[str, Node], start: str, edges: dict[str, list[Edge]], far: str) -> list[Reached]:
    """What is reached from `start`, the fewest generations first; also in graphs with cycles.

    edges: from `by_end`; far: the other end. Only teaching is a step.
    """
    found: dict[str, Reached] = {}
    waiting = deque([(start, 0)])
    while waiting:
        here, generations = waiting.popleft()
        if here != start and found[here].generations < generations:
            continue
        for edge in edges.get(here, ()):
            there, steps = getattr(edge, far), generations + (edge.relation == TEACHING)
            if there == start or (there in found and found[there].generations <= steps):
                continue
            found[there] = Reached(nodes[there], steps, edge)
            (waiting.append if steps > generations else waiting.appendleft)((there, steps))
    return sorted(found.values(), key=lambda reached: (reached.generations, reached.node.id))
