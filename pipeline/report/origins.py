"""What the numbers of a report were computed from: its artifacts by kind, and the students and corpora of a cell."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.store.step import KINDS

Row = Mapping[str, Any]
MOST_ARTIFACTS = 1_000  # listed of each kind
MOST_INPUTS = 20  # named of each artifact; a matrix has thousands
MOST_LINKS = 60  # to the students or corpora of one cell


@dataclass(frozen=True)
class Kind:
    """The artifacts of one kind that are listed, of `total`."""

    name: str
    rows: Sequence[Row]
    total: int


@dataclass(frozen=True)
class Origins:
    """lineage: as in page.ReportContent."""

    lineage: Sequence[Row]

    @cached_property
    def kinds(self) -> list[Kind]:
        by_kind = {kind: [row for row in self.lineage if row["kind"] == kind] for kind in KINDS}
        return [Kind(kind, rows[:MOST_ARTIFACTS], len(rows)) for kind, rows in by_kind.items() if rows]

    @cached_property
    def anchors(self) -> dict[str, str]:
        """Id of a listed artifact -> where it is on the page."""
        listed = (row for kind in self.kinds for row in kind.rows)
        return {str(row["id"]): f"artifact-{i}" for i, row in enumerate(listed)}

    @cached_property
    def matrix(self) -> Row | None:
        """The transfer artifact that all numbers come from."""
        return next((row for row in self.lineage if row["kind"] == "transfer"), None)

    def corpora(self, students: Iterable[str]) -> dict[str, str]:
        """The corpora that students were trained on or shown: id -> name."""
        inputs = [id_ for student in students if student in self._by_id for id_ in self._by_id[student]["inputs"]]
        return {id_: self._by_id[id_]["name"] for id_ in inputs if self._by_id.get(id_, {}).get("kind") == "corpus"}

    @cached_property
    def _by_id(self) -> dict[str, Row]:
        return {str(row["id"]): row for row in self.lineage}


def path(row: Row) -> str:
    """The path of an artifact under its root."""
    return f"{row['kind']}/{row['name']}-{row['id']}"
