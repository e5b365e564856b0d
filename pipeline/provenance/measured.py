"""The transfer that finished studies have measured, with the bases of the families that each number is about.

Names of families are a study's own, so two studies of one root may mean different models by the same name. Bases are
artifacts, whose ids tell them apart.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from pipeline.core.lineage_graph import Edge, Graph, by_end, reach
from pipeline.provenance.manifests import load_or_tell
from pipeline.store import Store, parallel_map
from pipeline.store.artifact import Manifest
from pipeline.store.step import ID_LENGTH
from pipeline.store.verify import artifacts

Row = Mapping[str, Any]
Pair = tuple[str, str]  # of a teacher and a student: their families, or their bases
Match = Literal["this pair", "by relation"]


@dataclass(frozen=True)
class Measured:
    """One cell of a finished study, as its transfer artifact holds it (pipeline.store.schemas.CELLS).

    match        "this pair": teacher and student come from the very bases of the cell; "by relation": others, which
                 are related alike
    root         as the audit names it; transfer: path of the artifact in it
    smoke_test   whether stand-ins took the place of models, so that the number is no measurement
    estimate, low, high   in nats for margins, of 1 for shares and rates; None if there is no such number
    """

    match: Match
    root: str
    transfer: str
    smoke_test: bool
    channel: str
    arm: str
    suite: str
    comparison: str
    metric: str
    teacher_family: str
    student_family: str
    estimate: float | None
    low: float | None
    high: float | None
    verdict: str


OF_CELL = tuple(one.name for one in fields(Measured))[4:]  # what is copied from a row


@dataclass(frozen=True)
class Matrix:
    """The primary cells of a transfer artifact, each with the fields OF_CELL.

    bases: families -> paths of their bases, for cells with trained students. arms: path of a student -> the arms that
    it is in; first_arm: the reference.
    """

    root: str
    transfer: str
    smoke_test: bool
    cells: Sequence[Row]
    bases: Mapping[Pair, Pair]
    arms: Mapping[str, frozenset[str]]
    first_arm: str

    def measured(self, cell: Row, match: Match) -> Measured:
        return Measured(match, self.root, self.transfer, self.smoke_test, **cell)


def read_matrices(store: Store, root: str, graph: Graph) -> list[Matrix]:
    """The finished matrices of a root; what cannot be read becomes a problem of the graph.

    root: the name to tell it by. graph: the lineage of this root.
    """
    loaded = parallel_map(lambda path: load_or_tell(store, path, graph.problems), artifacts(store, "transfer"))
    by_child = by_end((edge for edge in graph.strongest() if edge.evidence == "measured"), "child")
    students = {path[-ID_LENGTH:]: path for path in graph.nodes if path.startswith("student/")}
    found = []
    for manifest in filter(None, loaded):
        try:
            found.append(_matrix(manifest, root, graph, by_child, students))
        except (KeyError, TypeError):
            graph.problems.append(
                f"{manifest.path} was written by a version of undertow whose cells this one cannot read"
            )
    return found


def _matrix(
    manifest: Manifest, root: str, graph: Graph, by_child: dict[str, list[Edge]], students: Mapping[str, str]
) -> Matrix:
    arms: dict[str, set[str]] = {}
    bases: dict[Pair, Pair] = {}
    for run in manifest.settings["runs"].values():
        student = students.get(run["id"])
        if student is None:  # a base that read rows in its prompt, or a student that is gone
            continue
        arms.setdefault(student, set()).add(run["arm"])
        pair = run["teacher_family"], run["student_family"]
        if pair not in bases:
            ancestors = [one.node.id for one in reach(graph.nodes, student, by_child, "parent")]
            teacher, own = (_base(family, ancestors) for family in pair)
            if teacher and own:
                bases[pair] = teacher, own
    return Matrix(
        root,
        manifest.path,
        manifest.settings["smoke_test"],
        [{name: cell[name] for name in OF_CELL} for cell in manifest.results["cells"] if cell["primary"]],
        bases,
        {student: frozenset(names) for student, names in arms.items()},
        manifest.settings["arms"][0],
    )


def _base(family: str, paths: Sequence[str]) -> str:
    """The base of a family among these; "" if it is not there."""
    name = re.compile(rf"base/{re.escape(family)}-[0-9a-f]{{{ID_LENGTH}}}")
    return next((path for path in paths if name.fullmatch(path)), "")
