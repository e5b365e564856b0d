"""verify notices whatever was changed under a root."""

import io
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobs.commands.verify import show_verified
from jobs.terminal import Terminal
from pipeline.models.trainers.checkpoints import Checkpoints
from pipeline.plan.planner import plan
from pipeline.store import Store, artifact, open_store
from pipeline.store.verify import verify


def problems(store: Store) -> list[str]:
    return [problem for found in verify(store) for problem in found.problems]


def some(store: Store, pattern: str) -> str:
    return min(entry.path for entry in store.files("") if Path(entry.path).match(pattern))


def test_a_root_that_nobody_touched_has_no_problems(root: Store) -> None:
    found = list(verify(root))
    assert problems(root) == []
    assert len(found) == 8
    assert all(one.finished for one in found)
    assert sum(one.files for one in found if one.path.startswith("base/")) == 2


@pytest.mark.parametrize("pattern", ["base/*/manifest.json", "base/*/units/*.json", "base/*/model/*"])
def test_one_flipped_bit_is_told_with_the_files_name(root: Store, pattern: str) -> None:
    path = some(root, pattern)
    content = bytearray(root.read(path))
    content[len(content) // 2] ^= 1
    root.replace(path, bytes(content))
    said = problems(root)
    assert any(f"{path} is damaged" in line for line in said)


def test_a_missing_file_and_a_missing_input_are_told(root: Store) -> None:
    lost = some(root, "base/*/model/*")
    root.remove(lost)
    assert problems(root) == [f"{lost} is missing"]
    root.remove(f"{lost.split('/model/')[0]}/manifest.json")
    assert any("its input base" in line and line.endswith("is missing") for line in problems(root))


def test_an_input_that_was_made_anew_is_told(root: Store) -> None:
    path = some(root, "base/*/manifest.json")
    fields = artifact.without_checksum(root.read(path), path)
    root.replace(path, artifact.with_checksum(fields | {"results": {"other": 1}}))
    assert any("is not the one that it was made from" in line for line in problems(root))


def test_the_checkpoints_of_an_unfinished_step_are_checked_too(root: Store, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"12345")
    Checkpoints(root, "student/x/checkpoints", 1).save(1, "abc", tmp_path, 0, 1)
    assert problems(root) == []
    root.replace("student/x/checkpoints/step-000000001-abc/state/weights", b"12346")
    assert problems(root) == [
        "student/x/checkpoints/step-000000001-abc/state/weights is damaged: its SHA-256 is not the recorded one"
    ]


def base_of(root: Store) -> str:
    return some(root, "base/*/manifest.json").removesuffix("/manifest.json")


def leftover(store: Store) -> int:
    return sum(found.leftover for found in verify(store))


@pytest.mark.parametrize(
    "name", ["model/chat_template.jinja", "model/sub/config.json", "adapter/x", "README.md", "x.py"]
)
def test_a_stray_file_of_a_finished_artifact_is_told(root: Store, name: str) -> None:
    path = base_of(root)
    root.create(f"{path}/{name}", b"nobody names it")
    assert problems(root) == [f"{path}/{name} is named by no record: undertow did not write it, remove it"]


def test_what_attempts_left_behind_is_counted_and_no_problem(root: Store) -> None:
    path = base_of(root)
    named = some(root, "base/*/model/*").removeprefix(f"{path}/")
    for name in (
        f"attempt-2/{named}",
        "attempt-3/model/any",
        f"model/.{'0' * 32}.part",
        "checkpoints/step-1-a/state/w",
    ):
        root.create(f"{path}/{name}", b"left by an attempt that died")
    root.create("student/unfinished-000000000000/adapter/weights", b"in flight")
    assert problems(root) == []
    assert leftover(root) == 5


def test_strays_in_the_folder_of_the_attempt_that_counts_are_told(root: Store, study: Any, make: Any) -> None:
    smoke_edition = study(seed=7, families={"other": {"kind": "nano", "init_seed": 9}})
    step = plan(smoke_edition)[0]
    root.create(f"{step.path}/model/fake_model.json", b"left by an attempt that died")
    make(smoke_edition, root, step)
    assert (problems(root), leftover(root)) == ([], 1)
    root.create(f"{step.path}/attempt-2/model/chat_template.jinja", b"x")
    assert [line.split(" ")[0] for line in problems(root)] == [f"{step.path}/attempt-2/model/chat_template.jinja"]


def malformed(**fields: Any) -> bytes:
    return artifact.with_checksum(fields)


BROKEN = {
    "empty": b"",
    "no JSON": b"{",
    "no UTF-8": b"\xff\xfe",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "nested": b'{"checksum": ' + b"[" * 100_000,
    "no checksum": b"{}",
    "a checksum that is no text": b'{"checksum": 1}',
    "no fields": malformed(),
    "no files": malformed(files=None, ranks=1),
    "files of another type": malformed(files={"path": "x"}),
    "files that are no files": malformed(files=[1, None, "x"]),
    "a file without a digest": malformed(files=[{"path": "x", "bytes": 1}]),
    "a file with more": malformed(files=[{"path": "x", "bytes": 1, "sha256": "0" * 64, "mode": 7}]),
    "a file with a size that is none": malformed(files=[{"path": "x", "bytes": "1", "sha256": "0" * 64}]),
    "a file elsewhere": malformed(files=[{"path": "../../../etc/passwd", "bytes": 1, "sha256": "0" * 64}]),
    "unknown fields": malformed(files=[], results={}, colour="red"),
}


@pytest.mark.slow
@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("name", ["manifest.json", "units/train.json", "checkpoints/step-000000001-x/rank-00000.json"])
def test_a_malformed_record_is_told_and_hides_nothing_after_it(root: Store, name: str, content: bytes) -> None:
    broken, lost = base_of(root), some(root, "teacher/*/manifest.json")
    root.replace(f"{broken}/{name}", content)
    root.replace(lost, b"damaged too")
    if name.startswith("checkpoints") and content == BROKEN["unknown fields"]:
        return  # a checkpoint's other fields are its trainer's affair
    said = problems(root)
    assert any(line.startswith(f"{broken}/{name} is ") for line in said), said
    assert any(line.startswith(f"{lost} is damaged") for line in said), said


def test_a_folder_where_a_record_or_a_file_should_be_is_told(root: Store) -> None:
    path, file = base_of(root), some(root, "base/*/model/*")
    assert root.folder is not None
    for name in (f"{path}/manifest.json", file):
        root.remove(name)
        (root.folder / name).mkdir()
        (root.folder / name / "inner").touch()
    said = problems(root)
    assert f"{path}/manifest.json cannot be read: Is a directory" in said
    assert f"{file} cannot be read: Is a directory" in said


def test_an_artifact_and_a_unit_that_were_copied_to_another_place_are_told(root: Store) -> None:
    path = base_of(root)
    root.replace("base/copy-000000000000/manifest.json", root.read(f"{path}/manifest.json"))
    root.replace(f"{path}/units/other.json", root.read(f"{path}/units/train.json"))
    said = problems(root)
    assert any("base/copy-000000000000/manifest.json is the manifest of" in line for line in said)
    assert any("units/other.json is the record of train of" in line for line in said)


def test_an_input_that_leads_out_of_the_root_is_told(root: Store) -> None:
    path = some(root, "teacher/*/manifest.json")
    fields = artifact.without_checksum(root.read(path), path)
    fields["inputs"]["base"]["path"] = "../../elsewhere"
    root.replace(path, artifact.with_checksum(fields))
    assert any(line.startswith(f"{path} is malformed (inputs.base") for line in problems(root))


def test_a_link_is_told_and_hides_nothing_else(root: Store, tmp_path: Path) -> None:
    assert root.folder is not None
    (tmp_path / "elsewhere").mkdir()
    (root.folder / "base" / "linked-000000000000").symlink_to(tmp_path / "elsewhere")
    (root.folder / base_of(root) / "model" / "tokenizer.json").symlink_to(tmp_path / "secret")
    said = problems(root)
    assert len(said) == 2
    assert all("is a link" in line for line in said)


@pytest.mark.slow
@hypothesis_settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_no_shape_of_a_record_stops_it(data: st.DataObject) -> None:
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )
    known = st.sampled_from(["path", "kind", "files", "inputs", "settings", "results", "unit", "ranks"])
    with tempfile.TemporaryDirectory() as folder:
        store, path = open_store(folder), "base/x-000000000000"
        for name in ("manifest.json", "units/u.json", "checkpoints/step-1-a/rank-00000.json"):
            store.create(f"{path}/{name}", artifact.with_checksum(data.draw(st.dictionaries(known, anything))))
        store.create("teacher/y-000000000000/manifest.json", b"damaged")
        assert "teacher/y-000000000000/manifest.json is damaged" in problems(store)[-1]


def test_names_are_shown_as_they_are_and_control_characters_made_visible(root: Store) -> None:
    path = base_of(root)
    root.create(f"{path}/model/[red]x[/b]\x1b]0;owned\x07\x9b2J\n\u202ename", b"x")
    console = Terminal(width=300, file=io.StringIO())
    assert not show_verified(console, root)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert r"model/[red]x[/b]\x1b]0;owned\x07\x9b2J\n\u202ename is named by no record" in printed
