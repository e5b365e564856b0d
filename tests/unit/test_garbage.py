"""gc removes what no manifest names, in artifacts of marked roots alone, and nothing that a run may still name."""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import main
from pipeline.store import Store, artifact, open_store, status
from pipeline.store.garbage import Garbage, collect
from pipeline.store.garbage import garbage as garbage_before
from pipeline.store.lease import LEASE_SECONDS, RunLease
from pipeline.store.root import MARKER, mark
from pipeline.store.step import KINDS
from pipeline.store.verify import verify

UNFINISHED = "student/never-finished-0123456789ab"


def found(store: Store, age: timedelta = timedelta(0)) -> list[Garbage]:
    return list(garbage_before(store, datetime.now(UTC) + timedelta(seconds=1) - age))


def garbage(store: Store, age: timedelta = timedelta(0)) -> set[str]:
    return {entry.path for part in found(store, age) for entry in part.entries}


def nothing() -> None:
    pass


def some(store: Store, pattern: str) -> str:
    return min(entry.path for entry in store.files("") if Path(entry.path).match(pattern))


def everything(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and "leases" not in path.parts
    }


def age(folder: Path, days: float = 30) -> None:
    """Make every file below a folder that old."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - days * 86400,) * 2, follow_symlinks=False)


def refused(capsys: pytest.CaptureFixture[str], root: object, *options: str) -> str:
    """What `gc` says, which is to end with exit code 2."""
    with pytest.raises(SystemExit) as end:
        main(["gc", str(root), "--older-than", "1d", *options])
    assert end.value.code == 2
    return capsys.readouterr().err


def collected(capsys: pytest.CaptureFixture[str], root: object) -> str:
    with pytest.raises(SystemExit) as end:
        main(["gc", str(root), "--yes", "--older-than", "1d"])
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.fixture
def old(root: Store) -> Path:
    """A marked root with three artifacts and an unfinished one, all a month old."""
    mark(root)
    for name in ("units/train.json", "model/weights", "checkpoints/train/step-1/rank-00000.json"):
        root.create(f"{UNFINISHED}/{name}", b"{}")
    assert root.folder
    age(root.folder)
    return root.folder


def test_what_a_manifest_names_is_no_garbage(root: Store) -> None:
    named = {
        f"{manifest.path}/{file.place}"
        for verified in verify(root)
        for manifest in [artifact.require(root, verified.path)]
        for file in manifest.files
    }
    left = garbage(root)
    assert not left & named
    assert not any(path.endswith("manifest.json") for path in left)
    assert all("/units/" in path for path in left)


def test_orphans_are_garbage_once_they_are_old(root: Store) -> None:
    finished = some(root, "base/*/manifest.json").removesuffix("/manifest.json")
    orphan = f"{finished}/attempt-2/model/config.json"
    root.create(orphan, b"{}")
    assert orphan in garbage(root)
    assert orphan not in garbage(root, timedelta(hours=1))


def test_an_unfinished_artifact_goes_as_a_whole_once_all_of_it_is_old(root: Store, old: Path) -> None:
    files = {str(path.relative_to(old)) for path in (old / UNFINISHED).rglob("*") if path.is_file()}
    assert files <= garbage(root, timedelta(days=7))
    root.create(f"{UNFINISHED}/units/shard-00001.json", b"{}")
    assert not {path for path in garbage(root, timedelta(days=7)) if path.startswith(UNFINISHED)}


def test_removing_all_garbage_leaves_every_artifact_whole(root: Store, old: Path) -> None:
    for part in found(root):
        assert collect(root, part, nothing) == part.entries
    assert garbage(root) == set()
    assert not any(verified.problems for verified in verify(root))
    moved = open_store(root.root)
    assert all(artifact.load(moved, verified.path) for verified in verify(moved) if verified.path != UNFINISHED)


def test_records_go_before_the_files_that_they_name(root: Store, old: Path) -> None:
    (part,) = (part for part in found(root) if part.path == UNFINISHED)
    gone: list[str] = []

    def stop_after_two() -> None:
        gone.append("")
        if len(gone) > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(root, part, stop_after_two)
    assert everything(old / UNFINISHED) == {"model/weights"}


def test_nothing_of_an_artifact_is_removed_once_it_has_a_manifest(root: Store, old: Path) -> None:
    (part,) = (part for part in found(root) if part.path == UNFINISHED)
    root.create(f"{UNFINISHED}/manifest.json", b"{}")
    assert collect(root, part, nothing) == []


def test_a_file_that_was_written_again_since_it_was_found_stays(root: Store, old: Path) -> None:
    (part,) = (part for part in found(root) if part.path == UNFINISHED)
    (old / UNFINISHED / "units/train.json").touch()
    gone = {entry.path for entry in collect(root, part, nothing)}
    assert everything(old / UNFINISHED) >= {"units/train.json", "model/weights"}
    assert f"{UNFINISHED}/model/weights" not in gone


def test_an_artifact_with_a_damaged_manifest_stays_and_does_not_end_the_collection(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = next((old / "base").glob("*/manifest.json"))
    damaged.write_bytes(b"{")
    age(old)
    before = everything(damaged.parent)
    assert "manifest.json is damaged" in collected(capsys, old)
    assert everything(damaged.parent) == before
    assert not everything(old / UNFINISHED)


@pytest.mark.parametrize("link", [UNFINISHED, "student", f"{UNFINISHED}/model", f"{UNFINISHED}/model/weights"])
def test_what_a_link_leads_to_is_never_removed(
    old: Path, tmp_path: Path, link: str, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (old / link).rename(elsewhere)
    (old / link).symlink_to(elsewhere)
    before = {path for path in elsewhere.rglob("*") if path.is_file()} or {elsewhere}
    assert "is a link, which gc does not follow" in collected(capsys, old)
    assert all(path.is_file() for path in before)


def test_a_project_that_is_no_root_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in KINDS:
        (tmp_path / kind / "mine-0123456789ab").mkdir(parents=True)
        (tmp_path / kind / "mine-0123456789ab/file").write_text("mine")
    age(tmp_path)
    before = everything(tmp_path)
    monkeypatch.chdir(tmp_path)
    for options in ([], ["--yes"]):
        assert f"has no {MARKER}" in refused(capsys, ".", *options).replace("\n", " ")
        assert "names no place" in refused(capsys, "", *options)
    assert everything(tmp_path) == before


def test_in_a_root_only_folders_of_artifacts_are_touched(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = {"base/notes.txt", "report/draft/page.html", "dataset/rows-2024/rows.csv", "notes/x-0123456789ab/file"}
    for name in mine:
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_text("mine")
    age(old)
    collected(capsys, old)
    assert mine <= everything(old)


def note(**changes: Any) -> bytes:
    fields = {
        "study": "small",
        "steps": {"base": 2},
        "started": 0.0,
        "heartbeat": time.time(),
        "ended": False,
        "process": 1,
    }
    return json.dumps(fields | changes).encode()


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        0.0,
        34.0,
        LEASE_SECONDS / 2,
        note(a_field_of_a_later_version={"a": 1}),
        note(heartbeat="yesterday"),
        note(heartbeat=float("nan")),
        note(steps=[]),
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b" " * 2_000_000,
    ],
)
def test_gc_removes_nothing_while_a_status_says_that_a_study_runs_or_cannot_be_read(
    old: Path, capsys: pytest.CaptureFixture[str], content: bytes | float
) -> None:
    """content: of the status, or how many seconds ago the study gave a sign of life."""
    content = note(heartbeat=time.time() - content) if isinstance(content, float) else content
    (old / "studies/small-0123456789ab").mkdir(parents=True)
    (old / "studies/small-0123456789ab/status.json").write_bytes(content)
    before = everything(old)
    said = refused(capsys, old, "--yes").replace("\n", " ")
    assert "small is running" in said or "studies/small-0123456789ab/status.json" in said
    assert everything(old) == before


def test_gc_removes_nothing_while_a_run_holds_a_lease(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunLease(open_store(old), "small")
    run.take()
    before = everything(old)
    assert "small (process" in refused(capsys, old, "--yes")
    assert everything(old) == before
    run.release()
    collected(capsys, old)
    assert everything(old) < before


@pytest.mark.parametrize("changes", [{"ended": True}, {"heartbeat": time.time() - LEASE_SECONDS - 60}])
def test_gc_goes_on_where_every_study_has_ended_or_is_long_gone(
    old: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    status.write(open_store(old), "studies/small-1", status.RunStatus(**json.loads(note(**changes))))
    assert UNFINISHED in collected(capsys, old)


def test_a_file_that_cannot_be_removed_ends_the_collection_with_a_message(
    old: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(os, "unlink", refuse)
    assert "Read-only file system" in refused(capsys, old, "--yes")
