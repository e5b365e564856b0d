"""Which measured transfer stands beside a finding of the family audit.

A matrix measures what students took over from a teacher directly, so it says nothing of a teacher that is further away,
nor of a judge.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pipeline.core.lineage_graph import CHANNEL, TEACHING, Graph, reach
from pipeline.provenance.family import KNOWN, Audited, Edges, Exposure, Relation
from pipeline.provenance.measured import Match, Matrix, Measured, Row

OWN_FAMILY: dict[Relation, bool] = {
    "same weights": True,
    "same initialisation": True,
    "different by measurement": False,
}


def with_measured(found: Iterable[Audited], graph: Graph, matrices: Sequence[Matrix]) -> list[Audited]:
    """The findings, each exposure with the cells that are comparable with it, in the order of the matrices."""
    edges = Edges(graph)
    return [
        replace(
            one,
            exposures=tuple(
                replace(exposure, measured=tuple(_comparable(edges, one.student, exposure, matrices)))
                for exposure in one.exposures
            ),
        )
        for one in found
    ]


def _comparable(edges: Edges, student: str, exposure: Exposure, matrices: Sequence[Matrix]) -> Iterator[Measured]:
    is_direct = exposure.role == "teacher" and exposure.generations == 1
    if not is_direct or edges.graph.nodes[exposure.teacher].kind != "model":
        return
    pair = _base(edges, exposure.teacher), _base(edges, student)
    channels = _channels(edges, student, exposure.teacher)
    match: Match = "this pair" if all(pair) else "by relation"
    own_family = OWN_FAMILY.get(exposure.relation)
    for matrix in matrices:
        for cell in _cells(matrix, student, channels):
            bases = matrix.bases.get((cell["teacher_family"], cell["student_family"]))
            if bases and (bases == pair if all(pair) else (bases[0] == bases[1]) is own_family):
                yield matrix.measured(cell, match)


def _base(edges: Edges, model: str) -> str:
    """The base that a model is known to come from, as a path in a root; "" if there is none, or several."""
    ancestors = edges.weight_ancestors(model).items()
    bases = [name for name, weakest in ancestors if name.startswith("base/") and weakest <= KNOWN]
    return bases[0] if len(bases) == 1 else ""


def _channels(edges: Edges, student: str, teacher: str) -> set[str]:
    """The channels of what a teacher wrote for a student; empty if nothing says which."""
    reached = [student, *(one.node.id for one in reach(edges.graph.nodes, student, edges.of, "parent"))]
    written = [name for name in reached if any(edge.parent == teacher for edge in edges.related(name, TEACHING))]
    return {value for name in written for key, value in edges.graph.nodes[name].details if key == CHANNEL}


def _cells(matrix: Matrix, student: str, channels: set[str]) -> Iterator[Row]:
    """The cells of a student's channels and arms; of every channel, or of the reference arm, where it has none."""
    arms = matrix.arms.get(student, {matrix.first_arm})
    for cell in matrix.cells:
        if cell["arm"] in arms and (not channels or cell["channel"] in channels):
            yield cell
