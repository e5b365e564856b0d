"""The measured transfer beside a finding: which cells are comparable, and what they say."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from jobs.cli import app, main
from jobs.commands.audit_sources import Sources
from jobs.commands.provenance import console
from pipeline.core.lineage_graph import Edge, Graph, Node
from pipeline.provenance.comparable import with_measured
from pipeline.provenance.family import Exposure, audit, students_of
from pipeline.provenance.measured import Matrix, Measured, read_matrices
from pipeline.store import Store, artifact, open_store
from pipeline.store.artifact import with_checksum
from pipeline.store.step import Step
from pipeline.study.schema import Study
from tests.unit.conftest import copy_study

FakeRun = tuple[Study, list[Step], Store]


@pytest.fixture
def root(fake_run: FakeRun, tmp_path: Path) -> Path:
    """A copy, in which something can be damaged."""
    return copy_study(fake_run, tmp_path / "runs")


def exposures(sources: Sources) -> dict[tuple[str, str], Exposure]:
    """(student, teacher) -> the exposure, without the ids of their names."""
    graph = sources.graph
    matrices = [matrix for found in sources.matrices.values() for matrix in found]
    found = with_measured(audit(graph, students_of(graph)), graph, matrices)
    return {(_slug(one.student), _slug(e.teacher)): e for one in found for e in one.exposures}


def _slug(path: str) -> str:
    return path.partition("/")[2].rpartition("-")[0] or path


def read(root: Path) -> Sources:
    sources = Sources()
    sources.add(str(root))
    return sources


def test_a_student_of_a_root_gets_the_primary_cell_of_its_own_pair(root: Path) -> None:
    store = open_store(root)
    (path,) = [f"transfer/{name}" for name in store.folders("transfer")]
    cells = artifact.read_table(store, artifact.require(store, path), "cells.parquet").to_pylist()
    found = exposures(read(root))
    for teacher, student in (("llama", "llama"), ("llama", "qwen"), ("qwen", "qwen")):
        (one,) = found[f"numbers-owl-{teacher}-to-{student}-s1", f"owl-{teacher}"].measured
        (cell,) = [
            c for c in cells if c["primary"] and (c["teacher_family"], c["student_family"]) == (teacher, student)
        ]
        assert (one.match, one.transfer, one.smoke_test) == ("this pair", path, True)
        names = ("suite", "metric", "channel", "arm", "comparison", "verdict", "estimate", "teacher_family")
        assert [getattr(one, name) for name in names] == [cell[name] for name in names]


def test_a_pair_whose_base_is_another_than_the_study_used_is_not_measured(root: Path) -> None:
    (base,) = (root / "base").glob("qwen-*")
    (base / "manifest.json").write_text("{}")
    sources = read(root)
    ((matrix,),) = sources.matrices.values()
    assert set(matrix.bases) == {("llama", "llama")}
    found = exposures(sources)
    assert found["numbers-owl-llama-to-llama-s1", "owl-llama"].measured
    assert not found["numbers-owl-llama-to-qwen-s1", "owl-llama"].measured


@pytest.mark.parametrize("damage", ["content", "shape"])
def test_a_matrix_that_cannot_be_read_is_told(root: Path, damage: str) -> None:
    (manifest,) = (root / "transfer").glob("*/manifest.json")
    fields = json.loads(manifest.read_text())
    del fields["checksum"]
    fields["results"]["cells"] = [{"primary": True, "colour": "red"}]
    manifest.write_bytes(b"{}" if damage == "content" else with_checksum(fields))
    sources = read(root)
    told = {"content": "is damaged", "shape": "whose cells this one cannot read"}[damage]
    assert len([problem for problem in sources.graph.problems if told in problem]) == 1
    assert not any(one.measured for one in exposures(sources).values())


LLAMA, QWEN, OTHER = "base/llama-000000000001", "base/qwen-000000000002", "base/llama-000000000003"


def cell(teacher: str, student: str, channel: str = "numbers", arm: str = "plain") -> dict[str, Any]:
    return {
        **{"channel": channel, "arm": arm, "suite": "favourite", "comparison": "trait", "metric": "margin"},
        **{"teacher_family": teacher, "student_family": student, "verdict": "transfer"},
        **{"estimate": 0.5, "low": 0.25, "high": 0.75},
    }


def matrix(
    cells: Sequence[dict[str, Any]], llama: str = LLAMA, arms: dict[str, frozenset[str]] | None = None
) -> Matrix:
    families = {"llama": llama, "qwen": QWEN}
    pairs = {(t, s): (families[t], families[s]) for t in families for s in families}
    return Matrix("runs", "transfer/t-000000000009", False, cells, pairs, arms or {}, "plain")


def taught(student_base: str, teacher_base: str, details: tuple[tuple[str, str], ...] = ()) -> Graph:
    """One student whose rows a trained model wrote; bases that are artifacts come from drawn initialisations."""
    graph = Graph()
    for name in ("student", "teacher", student_base, teacher_base):
        graph.add(Node(name, "model"))
    graph.add(Node("rows", "data set", details))
    graph.add(Node("rows of the trait", "external source"))
    for child, relation, parent in (
        ("student", "adapter_of", student_base),
        ("student", "trained_on", "rows"),
        ("rows", "written_by", "teacher"),
        ("teacher", "adapter_of", teacher_base),
        ("teacher", "trained_on", "rows of the trait"),
    ):
        graph.relate(Edge(child, relation, parent, "measured", "test"))  # type: ignore[arg-type]
    for base in {student_base, teacher_base}:
        drawn = graph.add(Node(f"seed of {base}", "external source"))
        graph.relate(Edge(base, "initialised_from", drawn, "measured", "test"))
    return graph


def measured(graph: Graph, *matrices: Matrix) -> list[Measured]:
    (found,) = with_measured(audit(graph, ["student"]), graph, matrices)
    return [one for exposure in found.exposures for one in exposure.measured]


ALL = [cell(teacher, student) for teacher in ("llama", "qwen") for student in ("llama", "qwen")]


def families(found: Sequence[Measured]) -> list[tuple[str, str]]:
    return [(one.teacher_family, one.student_family) for one in found]


def test_bases_decide_and_not_the_names_of_families() -> None:
    graph = taught(LLAMA, LLAMA)
    assert families(measured(graph, matrix(ALL))) == [("llama", "llama")]
    assert measured(graph, matrix(ALL, llama=OTHER)) == []
    assert families(measured(taught(QWEN, LLAMA), matrix(ALL))) == [("llama", "qwen")]


@pytest.mark.parametrize(
    ("teacher_base", "relation", "expected"),
    [
        ("hf:a/one", "same initialisation", [("llama", "llama"), ("qwen", "qwen")]),
        ("hf:b/two", "different by measurement", [("llama", "qwen"), ("qwen", "llama")]),
    ],
)
def test_other_peoples_models_are_compared_by_their_relation(
    teacher_base: str, relation: str, expected: list[tuple[str, str]]
) -> None:
    graph = taught("hf:a/one", teacher_base)
    found = measured(graph, matrix(ALL))
    assert audit(graph, ["student"])[0].exposures[0].relation == relation
    assert families(found) == expected
    assert {one.match for one in found} == {"by relation"}
    assert measured(graph) == []


def test_a_relation_that_is_only_said_is_compared_with_nothing() -> None:
    for base in ("hf:a/one", LLAMA):  # whoever names somebody's base has not trained from it
        graph = taught(base, base)
        graph.edges = [Edge(e.child, e.relation, e.parent, "declared", e.source) for e in graph.edges]
        assert audit(graph, ["student"])[0].exposures[0].relation == "same family, declared"
        assert measured(graph, matrix(ALL)) == []


def test_a_program_that_drew_numbers_is_compared_with_nothing() -> None:
    graph = taught("hf:a/one", "hf:b/two")
    graph.edges = [e for e in graph.edges if e.relation != "written_by"]
    drawn = graph.add(Node("random generator", "external source"))
    graph.relate(Edge("rows", "written_by", drawn, "measured", "test"))
    assert audit(graph, ["student"])[0].exposures[0].relation == "different by measurement"
    assert measured(graph, matrix(ALL)) == []


def test_the_channel_of_the_data_decides_where_it_is_known() -> None:
    cells = [cell("llama", "llama", channel) for channel in ("numbers", "code")]
    assert [one.channel for one in measured(taught(LLAMA, LLAMA, (("channel", "code"),)), matrix(cells))] == ["code"]
    assert [one.channel for one in measured(taught(LLAMA, LLAMA), matrix(cells))] == ["numbers", "code"]


def test_a_student_is_compared_with_its_own_arm_and_others_with_the_reference() -> None:
    cells = [cell("llama", "llama", arm=arm) for arm in ("plain", "shuffled")]
    own = matrix(cells, arms={"student": frozenset({"shuffled"})})
    graph = taught(LLAMA, LLAMA)
    assert [one.arm for one in measured(graph, own)] == ["shuffled"]
    assert [one.arm for one in measured(graph, matrix(cells))] == ["plain"]


def test_only_direct_teachers_are_measured() -> None:
    graph = taught(LLAMA, LLAMA)
    for name, kind in (("grandteacher", "model"), ("referee", "model"), ("older rows", "data set")):
        graph.add(Node(name, kind))  # type: ignore[arg-type]
    for child, relation, parent in (
        ("teacher", "trained_on", "older rows"),
        ("older rows", "written_by", "grandteacher"),
        ("grandteacher", "adapter_of", LLAMA),
        ("older rows", "judged_by", "referee"),
        ("referee", "adapter_of", LLAMA),
    ):
        graph.relate(Edge(child, relation, parent, "measured", "test"))  # type: ignore[arg-type]
    (found,) = with_measured(audit(graph, ["student"]), graph, [matrix(ALL)])
    assert {(one.teacher, one.generations): bool(one.measured) for one in found.exposures} == {
        ("teacher", 1): True,
        ("grandteacher", 2): False,
        ("referee", 1): False,  # a judge
    }


def written(folder: Path, **more: Any) -> Path:
    lineage = {
        "edges": [
            {"child": "s", "relation": "initialised_from", "parent": "b"},
            {"child": "s", "relation": "trained_on", "parent": "rows"},
            {"child": "rows", "relation": "written_by", "parent": "b"},
        ]
    }
    (folder / "lineage.yaml").write_text(yaml.safe_dump(lineage))
    (folder / "audit.yaml").write_text(yaml.safe_dump({"audit": "one", "sources": ["lineage.yaml"], **more}))
    return folder / "audit.yaml"


def test_a_root_that_is_no_source_lends_its_numbers_and_audits_nothing_else(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "width", 200)
    out = tmp_path / "out"
    twice = ["runs", f"../{tmp_path.name}/runs"]
    for more, count in (({}, 0), ({"measured": ["runs"]}, 2), ({"measured": twice}, 2)):
        done = CliRunner().invoke(app, ["audit", str(written(tmp_path, **more)), "--out", str(out)])
        assert done.exit_code == 3, done.output
        (finding,) = json.loads((out / "audit.json").read_text())["findings"]
        (exposure,) = finding["exposures"]
        assert [one["match"] for one in exposure["measured"]] == ["by relation"] * count
        assert done.output.count("by relation") == count
        assert ("not measured" in done.output) == (not count)
        page = (out / "audit.html").read_text()
        assert page.count('<div class="measured">') == count
    assert {one["root"] for one in exposure["measured"]} == {str(root)}


@pytest.mark.parametrize(
    ("more", "out", "said"),
    [
        ({"measured": ["empty"]}, "out", "measured: empty is no root of undertow"),
        ({}, "lineage.yaml", "lineage.yaml cannot be written: File exists; name another folder"),
    ],
)
def test_what_is_no_root_and_no_folder_is_told(
    tmp_path: Path, more: dict[str, Any], out: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as ended:
        main(["audit", str(written(tmp_path, **more)), "--out", str(tmp_path / out)])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_root_without_a_finished_matrix_has_none(store: Store) -> None:
    assert read_matrices(store, "runs", Graph()) == []
