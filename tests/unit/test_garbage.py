"""gc finds what no manifest names, and spares what is young."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline import artifact
from pipeline.garbage import garbage as garbage_before
from pipeline.store import Store, open_store
from pipeline.verify import verify


def garbage(store: Store, age: timedelta = timedelta(0)) -> set[str]:
    return {entry.path for entry in garbage_before(store, datetime.now(UTC) + timedelta(seconds=1) - age)}


def some(store: Store, pattern: str) -> str:
    return min(entry.path for entry in store.files("") if Path(entry.path).match(pattern))


def test_what_a_manifest_names_is_no_garbage(root: Store) -> None:
    named = {
        f"{manifest.path}/{file.place}"
        for found in verify(root)
        for manifest in [artifact.require(root, found.path)]
        for file in manifest.files
    }
    left = garbage(root)
    assert not left & named
    assert not any(path.endswith("manifest.json") for path in left)
    assert all("/units/" in path for path in left)


def test_orphans_and_unfinished_steps_are_garbage_once_they_are_old(root: Store) -> None:
    finished = some(root, "base/*/manifest.json").removesuffix("/manifest.json")
    orphans = {f"{finished}/attempt-2/model/config.json", "student/never-finished/units/train.json"}
    for path in orphans:
        root.create(path, b"{}")
    assert orphans <= garbage(root)
    assert not orphans & garbage(root, timedelta(hours=1))


def test_removing_all_garbage_leaves_every_artifact_whole(root: Store) -> None:
    for path in garbage(root):
        root.remove(path)
    assert garbage(root) == set()
    assert not any(found.problems for found in verify(root))
    moved = open_store(root.root)
    assert all(artifact.load(moved, found.path) for found in verify(moved))
