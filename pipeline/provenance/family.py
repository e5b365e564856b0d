"""The family audit: for every student, which teachers it learned from, and whether they share its family.

Traits pass between models of one initialisation, through data that says nothing about them. So the question of each
teacher is how its weights are related to those that the student began with, and how that is known. What nobody knows is
a finding of its own, and never counts as harmless.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.core.lineage_graph import EVIDENCE, TEACHING, Edge, Evidence, Graph, Reached, by_end, reach
from pipeline.core.lineage_graph import Relation as GraphRelation
from pipeline.provenance.measured import Measured

Relation = Literal[
    "same weights", "same initialisation", "same family, declared", "different by measurement", "unknown"
]
Finding = Literal["exposed", "unknown", "not exposed by evidence"]
Role = Literal["teacher", "judge"]
WEIGHTS = ("initialised_from", "adapter_of", "quantised_from", "merged_from")
JUDGING = ("judged_by", "filtered_by")
KNOWN = EVIDENCE.index("attested")  # evidence up to here counts as known
EXPOSING = ("same weights", "same initialisation", "same family, declared")
DRAWN = "external source"  # the kind of an initialisation that was drawn for one family alone
Compare = Callable[[str, str], bool | None]


@dataclass(frozen=True)
class Exposure:
    """One model whose output a student learned from, or that chose it.

    generations: steps of teaching between the two. evidence: the weakest of the facts that lead to the teacher and to
    its relation. reason: for people. measured: the transfer of comparable pairs (pipeline.provenance.comparable).
    """

    teacher: str
    role: Role
    generations: int
    relation: Relation
    evidence: Evidence
    reason: str
    measured: tuple[Measured, ...] = ()


@dataclass(frozen=True)
class Audited:
    """The finding on one student, and what it rests on."""

    student: str
    finding: Finding
    reason: str
    exposures: tuple[Exposure, ...]


class Edges:
    """A graph, by child."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.of = by_end(graph.strongest(), "child")

    def related(self, child: str, relation: GraphRelation) -> list[Edge]:
        return [edge for edge in self.of.get(child, ()) if edge.relation == relation]

    def weight_ancestors(self, model: str) -> dict[str, int]:
        """The model and everything that its weights came from -> the weakest evidence on the best way there."""
        best: dict[str, int] = {}
        waiting = [(0, model)]
        while waiting:
            weakest, here = heapq.heappop(waiting)
            if here in best:
                continue
            best[here] = weakest
            for edge in self.of.get(here, ()):
                if edge.relation in WEIGHTS:
                    heapq.heappush(waiting, (max(weakest, EVIDENCE.index(edge.evidence)), edge.parent))
        return best

    def weights(self, model: str) -> str:
        """The model whose weights this one has: itself, or what an untrained one was initialised from, such as a base
        with a system prompt."""
        own = [edge for edge in self.of.get(model, ()) if edge.relation in WEIGHTS]
        untouched = len(own) == 1 and own[0].relation == "initialised_from" and _is_known(own[0])
        if untouched and not self.related(model, "trained_on") and self.graph.nodes[own[0].parent].kind == "model":
            return own[0].parent
        return model


def _is_known(edge: Edge) -> bool:
    return EVIDENCE.index(edge.evidence) <= KNOWN


def never(a: str, b: str) -> bool | None:
    """No weights are at hand."""
    return None


def students_of(graph: Graph) -> list[str]:
    """The models that were made from another model or from data."""
    made = {edge.child for edge in graph.edges if edge.relation in (*WEIGHTS, "trained_on")}
    return sorted(name for name in made if graph.nodes[name].kind == "model")


def audit(graph: Graph, students: Iterable[str], compare: Compare = never) -> list[Audited]:
    """compare(a, b): whether the weights of two models began alike; None if that is not known."""
    edges = Edges(graph)
    return [_audit(edges, student, compare) for student in students]


def _audit(edges: Edges, student: str, compare: Compare) -> Audited:
    exposures = tuple(_exposures(edges, student, compare))
    finding, reason = _finding(edges, student, exposures)
    return Audited(student, finding, reason, exposures)


def _exposures(edges: Edges, student: str, compare: Compare) -> Iterable[Exposure]:
    via = {one.node.id: one for one in reach(edges.graph.nodes, student, edges.of, "parent")}
    roles: dict[tuple[str, Role], list[Edge]] = {}
    for child in (student, *via):
        for edge in edges.of.get(child, ()):
            if edge.relation == TEACHING or edge.relation in JUDGING:
                role: Role = "teacher" if edge.relation == TEACHING else "judge"
                roles.setdefault((edge.parent, role), []).append(edge)
    for (name, role), found in sorted(roles.items()):
        is_teacher_as_well = role == "judge" and (name, "teacher") in roles
        if edges.graph.nodes[name].kind in ("model", "judge", "external source") and not is_teacher_as_well:
            yield _exposure(edges, student, role, found, via, compare)


def _exposure(
    edges: Edges, student: str, role: Role, found: Sequence[Edge], via: Mapping[str, Reached], compare: Compare
) -> Exposure:
    """found: the edges by which the teacher or judge made data that reached the student."""
    nearest = min(found, key=lambda edge: via[edge.child].generations if edge.child in via else 0)
    generations = (via[nearest.child].generations if nearest.child in via else 0) + (role == "teacher")
    path = max(EVIDENCE.index(nearest.evidence), _path_evidence(nearest.child, via))
    name = nearest.parent
    if edges.graph.nodes[name].kind == "external source":
        return Exposure(name, role, generations, "different by measurement", EVIDENCE[path], "it is no model")
    relation, weakest, reason = _relation(edges, student, name, compare)
    if path == EVIDENCE.index("unknown"):
        relation, reason = "unknown", "nothing says which model it is"
    return Exposure(name, role, generations, relation, EVIDENCE[max(weakest, path)], reason)


def _path_evidence(name: str, via: Mapping[str, Reached]) -> int:
    """The weakest evidence on the way from the student to a node."""
    weakest = 0
    for _ in via:  # a way has no more steps than there are nodes, also where edges go in a circle
        if name not in via:
            break
        weakest = max(weakest, EVIDENCE.index(via[name].via.evidence))
        name = via[name].via.child
    return weakest


def _relation(edges: Edges, student: str, teacher: str, compare: Compare) -> tuple[Relation, int, str]:
    """How the weights of the two are related, the weakest evidence for it, and why."""
    if teacher == student:
        return "same weights", 0, "it wrote its own data"
    own, other = edges.weight_ancestors(student), edges.weight_ancestors(teacher)
    weights = edges.weights(teacher)
    if weights in own and weights != student:
        return "same weights", max(own[weights], other.get(weights, 0)), f"the student began with {weights}"
    shared = {name: max(own[name], other[name]) for name in own.keys() & other.keys()}
    if shared:
        name = min(shared, key=lambda one: (shared[one], one))
        if shared[name] <= KNOWN:
            return "same initialisation", shared[name], f"both came from {name}"
    roots = [_roots(edges, line) for line in (own, other)]
    if all(roots) and not shared and max(*own.values(), *other.values()) <= KNOWN:
        began = " and ".join(", ".join(drawn) for drawn in roots)
        return "different by measurement", 0, f"they began with {began}"
    alike = compare(student, teacher)
    if alike is not None:
        how = "their weights began alike" if alike else "their weights did not begin alike"
        return ("same initialisation" if alike else "different by measurement"), 0, how
    if shared:
        return "same family, declared", shared[name], f"both are said to come from {name}"
    return "unknown", EVIDENCE.index("unknown"), "nothing says whether they share an initialisation"


def _roots(edges: Edges, line: dict[str, int]) -> list[str]:
    """The drawn initialisations that a line ends with; empty if it ends with something else as well."""
    ends = [name for name in line if not any(edge.relation in WEIGHTS for edge in edges.of.get(name, ()))]
    return sorted(ends) if all(edges.graph.nodes[name].kind == DRAWN for name in ends) else []


def _finding(edges: Edges, student: str, exposures: Iterable[Exposure]) -> tuple[Finding, str]:
    taught = [one for one in exposures if one.role == "teacher"]
    exposing = [one for one in taught if one.relation in EXPOSING]
    if exposing:
        first = min(exposing, key=lambda one: (one.generations, EXPOSING.index(one.relation), one.teacher))
        away = f"{first.generations} generation{'' if first.generations == 1 else 's'} away"
        return "exposed", f"{first.teacher}, {away}: {first.relation}; {first.reason}"
    unclear = [one for one in exposures if one.relation == "unknown"]
    if unclear:
        return "unknown", f"{unclear[0].teacher}: {unclear[0].reason}"
    judged = [one for one in exposures if one.role == "judge" and one.relation in EXPOSING]
    if judged:
        return (
            "unknown",
            f"{judged[0].teacher}, of its own family, chose its data; nobody has measured what that passes on",
        )
    blank = _undocumented(edges, student)
    if blank:
        return "unknown", blank
    weak = [one for one in exposures if EVIDENCE.index(one.evidence) > KNOWN]
    if weak:
        return "unknown", f"{weak[0].teacher} is only {weak[0].evidence}, and another may be left out"
    return "not exposed by evidence", "every teacher is known, and none is of its family"


def _undocumented(edges: Edges, student: str) -> str:
    """What is not known of the data of a student or of what its weights came from; "" if all is."""
    for name in edges.weight_ancestors(student):
        data = edges.related(name, "trained_on")
        made = edges.of.get(name, ())
        if edges.graph.nodes[name].kind != "model" or edges.weights(name) != name or _is_pretrained_here(edges, name):
            continue
        if not data and not any(edge.relation in ("merged_from", "quantised_from") for edge in made):
            return f"nothing says what {name} was trained on"
        if said := next((edge for edge in data if EVIDENCE.index(edge.evidence) > KNOWN), None):
            return f"it is only {said.evidence} that {name} was trained on {said.parent}; more may be left out"
        if origin := next((edge.parent for edge in data if not _has_origin(edges, edge.parent)), None):
            return f"nothing but a word says who wrote {origin}"
    return ""


def _is_pretrained_here(edges: Edges, model: str) -> bool:
    """Of a base that this pipeline made from an initialisation, the manifest says all."""
    return any(
        edge.relation == "initialised_from" and _is_known(edge) and edges.graph.nodes[edge.parent].kind == DRAWN
        for edge in edges.of.get(model, ())
    )


def _has_origin(edges: Edges, data: str) -> bool:
    """Whether it is known, and not only said, what wrote all of a data set's rows."""
    waiting, seen, named = [data], set[str](), 0
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        made = [*edges.related(here, "merged_from"), *edges.related(here, TEACHING)]
        if any(EVIDENCE.index(edge.evidence) > KNOWN for edge in made):
            return False
        if edges.graph.nodes[here].kind != "data set" or edges.related(here, TEACHING):
            named += 1  # a program's rows have no author
        elif made:
            waiting += [edge.parent for edge in made]
        else:
            return False
    return named > 0
