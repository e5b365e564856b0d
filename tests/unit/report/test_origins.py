"""Where a number of the report comes from: its cell leads to the artifacts that it was computed from."""

import re
from typing import Any

import pytest

from pipeline.report import origins, page
from pipeline.report.origins import Origins
from pipeline.stages.report import content
from pipeline.store import Store, artifact
from pipeline.store.step import Step
from pipeline.study.schema import Study
from tests.pages import Page

FakeRun = tuple[Study, list[Step], Store]


def made(run: FakeRun, kind: str) -> artifact.Manifest:
    _, steps, store = run
    (path,) = [step.path for step in steps if step.kind == kind]
    return artifact.require(store, path)


@pytest.fixture(scope="module")
def html(fake_run: FakeRun) -> str:
    _, _, store = fake_run
    report = made(fake_run, "report")
    return artifact.read(store, report, "report.html").decode()


def listed(html: str) -> dict[str, tuple[str, str]]:
    """anchor -> path and digest of every artifact that the page lists."""
    row = r'<tr id="(artifact-\d+)"><td class="mono name">(.+?)</td><td class="mono" title="(\w+)">'
    return {anchor: (path, digest) for anchor, path, digest in re.findall(row, html)}


def test_every_cell_leads_to_its_students_and_their_corpora(fake_run: FakeRun, html: str) -> None:
    _, _, store = fake_run
    matrix = made(fake_run, "transfer")
    runs = artifact.read_table(store, matrix, "runs.parquet").to_pylist()
    cells = artifact.read_table(store, matrix, "cells.parquet").to_pylist()
    artifacts = listed(html)
    for number, cell in enumerate(cells):
        body = re.search(rf'<tbody id="cell-{number}">(.+?)</tbody>', html, re.DOTALL)[1]  # type: ignore[index]
        assert f"From {matrix.path}: " in body
        found = {artifacts[anchor][0] for anchor in re.findall(r'href="#(artifact-\d+)"', body)}
        counts = [cell["teachers"] or "", cell["corpora"], cell["runs"]]
        assert "".join(f'<td class="n">{count}</td>' for count in counts) in body
        families = (cell["teacher_family"], cell["student_family"])
        ids = {
            run["student"]
            for run in runs
            if (run["teacher_family"], run["student_family"]) == families
            and (cell["comparison"] != "neutral" or run["teacher_target"] is None)
        }
        students = {path for path in found if path.startswith("student/")}
        assert {path[-12:] for path in students} == ids
        assert found - students == {artifact.require(store, path).input("corpus") for path in students}


def test_every_artifact_is_listed_with_the_digest_of_its_manifest(fake_run: FakeRun, html: str) -> None:
    _, steps, store = fake_run
    found = dict(listed(html).values())
    assert found == {path: artifact.require(store, path).digest for path in found}
    used = {step.path for step in steps if step.kind not in ("report", "dataset")}
    assert set(found) == used


def test_the_page_names_the_commands_that_lead_further(fake_run: FakeRun, html: str) -> None:
    text = Page(html.encode()).text
    assert f"undertow show ROOT/{made(fake_run, 'transfer').path}" in text
    assert "undertow lineage ROOT --of STUDENT" in text


@pytest.mark.slow
def test_long_lists_are_cut_with_a_sentence(fake_run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, store = fake_run
    monkeypatch.setattr(page, "MOST_LINKS", 1)
    monkeypatch.setattr(page, "MOST_INPUTS", 1)
    report = made(fake_run, "report")
    sources = [source["path"] for source in report.inputs.values()]
    short = Page(page.render(content(store, report.settings["study"], sources))["report.html"]).text
    matrix = made(fake_run, "transfer")
    assert f"and {len(matrix.inputs) - 1} more" in short
    assert "which the table of runs names" in short


def row(kind: str, number: int, inputs: list[str]) -> dict[str, Any]:
    return {"kind": kind, "name": kind, "id": f"{kind}-{number}", "digest": "d", "inputs": inputs, "seconds": 1.0}


def test_a_large_study_lists_the_first_artifacts_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "MOST_ARTIFACTS", 3)
    lineage = [row("corpus", 1, []), *(row("student", n, ["corpus-1"]) for n in range(5))]
    found = Origins(lineage)
    assert [(kind.name, len(kind.rows), kind.total) for kind in found.kinds] == [("corpus", 1, 1), ("student", 3, 5)]
    assert list(found.anchors) == ["corpus-1", "student-0", "student-1", "student-2"]
    assert found.corpora(["student-4", "nobody"]) == {"corpus-1": "corpus"}, "known though it is not listed"
    assert found.matrix is None
