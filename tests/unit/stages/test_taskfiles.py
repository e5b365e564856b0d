"""Task files of a study's own folder are data: whatever would run code is refused before the library reads it."""

from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.stages.shared.taskfiles import require_plain

BASELINE = "task: facts\ndoc_to_text: '{{question}}'\nmetric_list: [{metric: acc}]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("tasks/deep", "library", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "tasks" / "facts.yaml").write_text(BASELINE)
    (tmp_path / "library" / "own.yaml").write_text("process_docs: !function utils.docs\n")
    (tmp_path / "elsewhere" / "evil.yaml").write_text("process_docs: !function evil.run\n")
    return tmp_path


def check(folder: Path) -> None:
    require_plain(folder / "tasks", folder / "library")


def test_plain_tasks_and_those_that_include_the_librarys_own_may_be(folder: Path) -> None:
    (folder / "tasks" / "deep" / "more.yaml").write_text(f"include: ../facts.yaml\n{BASELINE}")
    (folder / "tasks" / "own.yaml").write_text(f"include: [{folder}/library/own.yaml, facts.yaml]\n")
    (folder / "tasks" / "loop.yaml").write_text("include: loop.yaml\n")
    check(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("process_docs: !function evil.run", r"facts.yaml:1: the tag !function is not allowed"),
        ("process_docs: !<!function> evil.run", "the tag !function"),
        ("%TAG !e! !func\n--- \na: !e!tion evil.run", "the tag !function"),
        ("a: 1\nb: {c: [!function os.system]}", r"facts.yaml:2: the tag !function"),
        ("class: !function task.C", "the tag !function"),
        ("a: !!python/object/apply:os.system [ls]", "cannot read the task"),
        ("include: ../elsewhere/evil.yaml", "is neither in that folder nor in the library"),
        ("include: [facts.yaml, ../elsewhere/evil.yaml]", "is neither in that folder nor in the library"),
        ("include: evil.txt", r"evil.txt:1: the tag !function"),
        ("include: gone.yaml", "cannot read the task"),
        ("[" * 400, "cannot read the task"),
        ("a: '" + "x" * (1 << 20) + "'", "larger than"),
        ("a: [", "cannot read the task"),
    ],
)
def test_what_would_run_code_or_cannot_be_read_is_refused_with_its_place(folder: Path, text: str, said: str) -> None:
    (folder / "tasks" / "evil.txt").write_text("a: !function evil.run\n")
    (folder / "tasks" / "facts.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        check(folder)


def test_a_link_out_of_the_folder_is_no_way_out(folder: Path) -> None:
    (folder / "tasks" / "linked.yaml").symlink_to(folder / "elsewhere" / "evil.yaml")
    with pytest.raises(InputError):
        check(folder)
