"""A table of cells by what names a cell."""

from collections.abc import Mapping


def rows(table: object) -> dict[tuple[str, str, str, str], Mapping[str, object]]:
    return {
        (r["teacher_family"], r["student_family"], r["comparison"], r["metric"]): r
        for r in table.to_pylist()  # type: ignore[attr-defined]
    }
