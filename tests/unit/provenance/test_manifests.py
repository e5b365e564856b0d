"""The lineage of a root, from the manifests of a fake study."""

import shutil
from pathlib import Path

import pytest

from jobs.commands.lineage import gather, show
from jobs.terminal import Terminal
from pipeline.core.errors import InputError
from pipeline.core.lineage_graph import Graph
from pipeline.provenance.family import audit, students_of
from pipeline.provenance.manifests import read_root
from pipeline.stages import lineage_of
from pipeline.store import Store, open_store
from pipeline.store.root import mark
from pipeline.store.step import Step
from pipeline.study.schema import Study

FakeRun = tuple[Study, list[Step], Store]
STUDENT = "numbers-owl-llama-to-qwen-s1"


@pytest.fixture
def root(fake_run: FakeRun, tmp_path: Path) -> Path:
    """A copy, in which something can be damaged."""
    _, _, store = fake_run
    shutil.copytree(str(store.folder), tmp_path / "root")
    mark(open_store(tmp_path / "root"))
    return tmp_path / "root"


def lineage(root: Path) -> Graph:
    return read_root(open_store(root), lineage_of)


def path_of(graph: Graph, slug: str, kind: str = "student") -> str:
    return next(node for node in graph.nodes if node.startswith(f"{kind}/{slug}-"))


def names(path: str) -> str:
    return path.rpartition("-")[0] if "/" in path else path


def test_a_student_comes_from_its_base_its_corpus_and_a_teacher_one_generation_before(root: Path) -> None:
    graph = lineage(root)
    assert graph.problems == []
    assert graph.cycles() == []
    found = {
        names(one.node.id): (one.generations, one.via.relation) for one in graph.ancestors(path_of(graph, STUDENT))
    }
    origins = {name for name in found if name.startswith(("initialisation:", "rows:", "prompt:"))}
    assert {name: at for name, at in found.items() if name not in origins} == {
        "base/qwen": (0, "adapter_of"),
        "corpus/numbers-owl-llama": (0, "trained_on"),
        "completions/numbers-owl-llama": (0, "merged_from"),
        "teacher/owl-llama": (1, "written_by"),
        "base/llama": (1, "initialised_from"),
    }
    assert len(origins) == 3
    assert {edge.evidence for edge in graph.edges} == {"measured"}


def test_everything_that_learned_from_a_base_is_found(fake_run: FakeRun, root: Path) -> None:
    study, _, _ = fake_run
    graph = lineage(root)
    found = graph.descendants(path_of(graph, "owl-llama", "teacher"))
    students = {one.node.id for one in found if one.node.id.startswith("student/")}
    assert len(students) == len(study.student_families_of("llama")) * len(study.students.seeds)
    assert {one.generations for one in found} == {1}


def test_every_student_is_audited_by_the_initialisations_of_its_study(root: Path) -> None:
    """Both families are drawn, so that each pair is known: its own teachers' students are exposed, others are not."""
    graph = lineage(root)
    found = {one.student: one.finding for one in audit(graph, students_of(graph)) if one.student.startswith("student/")}
    assert len(found) > 8
    for student, finding in found.items():
        teacher, _, base = student.removeprefix("student/").partition("-to-")
        same = teacher.split("-")[-1] == base.split("-")[0]
        expected = "exposed" if same and "random" not in teacher else "not exposed by evidence"
        assert finding == expected, student


def test_a_parent_that_is_gone_or_another_is_told_and_no_longer_measured(root: Path) -> None:
    before = lineage(root)
    corpus, base = path_of(before, "numbers-owl-llama", "corpus"), path_of(before, "qwen", "base")
    shutil.rmtree(root / corpus)
    (root / base / "manifest.json").write_text("{}")
    graph = lineage(root)
    said = "\n".join(graph.problems)
    assert f"was made from {corpus}, which is not there" in said
    assert f"{base}/manifest.json" in said
    student = path_of(graph, STUDENT)
    assert {e.parent: e.evidence for e in graph.edges if e.child == student} == {corpus: "declared", base: "declared"}


def test_settings_of_another_version_are_told(root: Path) -> None:
    def unreadable(made: object) -> None:
        raise KeyError("recipe")

    graph = read_root(open_store(root), unreadable)  # type: ignore[arg-type]
    assert graph.nodes == {}
    assert "settings this one cannot read" in graph.problems[0]


def test_names_without_a_folder_are_read_where_the_command_runs(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert gather(["model"])[1] == "folder:model"
    assert gather(["root"])[1] is None
    monkeypatch.chdir(root)
    student = path_of(lineage(root), STUDENT)
    assert gather([student])[1] == student
    with pytest.raises(InputError, match="nothing is no root"):
        gather(["nothing"])


def test_roots_artifacts_folders_and_files_are_told_apart(root: Path, tmp_path: Path) -> None:
    student = path_of(lineage(root), STUDENT)
    assert gather([str(root)])[1] is None
    assert gather([f"{root}/{student}"])[1] == student
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"_name_or_path": "a/b"}')
    graph, single = gather([str(folder)])
    assert single == f"folder:{folder}"
    assert set(graph.nodes) == {single, "hf:a/b"}
    joined, single = gather([str(root), str(folder)])
    assert single is None
    assert {student, "hf:a/b"} <= joined.nodes.keys()
    with pytest.raises(InputError, match="is no root of undertow"):
        gather([str(tmp_path / "nothing")])


def test_a_part_of_a_name_is_enough_if_it_is_one_nodes(root: Path, tmp_path: Path) -> None:
    part = show(Terminal(), [str(root)], STUDENT, None, tmp_path / "out")
    assert len(part.nodes) == 9
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"lineage.json", "lineage.mmd", "lineage.svg"}
    again, _ = gather([str(tmp_path / "out" / "lineage.json")])
    assert again.nodes == part.nodes
    with pytest.raises(InputError, match="contain it, such as"):
        show(Terminal(), [str(root)], "owl", None, None)
    with pytest.raises(InputError, match="there is no unicorn in this lineage"):
        show(Terminal(), [str(root)], None, "unicorn", None)
