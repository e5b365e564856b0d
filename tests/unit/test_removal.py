"""What may be removed: one file inside an artifact of a marked root, and never through a link."""

import json
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.store import Store, open_store
from pipeline.store.removal import remove
from pipeline.store.root import MARKER, mark
from pipeline.store.step import KINDS

ARTIFACT = "student/owl-s1-0123456789ab"


def test_a_file_of_an_artifact_of_a_marked_root_is_removed(store: Store) -> None:
    mark(store)
    for kind in KINDS:
        path = f"{kind}/owl-s1-0123456789ab/checkpoints/train/rank-00000.json"
        store.create(path, b"")
        assert remove(store, path) is True
        assert not store.exists(path)
        assert remove(store, path) is False


@pytest.mark.parametrize(
    "path",
    [
        "dataset/my-rows/rows.parquet",
        "base/notes.txt",
        "report/owl-0123456789ab",
        "report/owl-0123456789AB/report.html",
        "report/owl-0123456789abc/report.html",
        "report/0123456789ab/report.html",
        "notes/owl-0123456789ab/file",
        "studies/owl-0123456789ab/status.json",
        f"{ARTIFACT}/../../../file",
        f"/{ARTIFACT}/file",
        f"deeper/{ARTIFACT}/file",
        MARKER,
        "",
    ],
)
def test_nothing_else_is(store: Store, path: str) -> None:
    mark(store)
    with pytest.raises(InputError, match=r"not inside an artifact|leads out of the root"):
        remove(store, path)


@pytest.mark.parametrize(
    "marker",
    [None, b"", b"\xff", b"[]", b"{}", b"1", b'{"undertow_root": 2}', b"[" * 100_000],
)
def test_nothing_is_removed_from_a_root_without_a_marker_that_undertow_wrote(
    store: Store, marker: bytes | None
) -> None:
    store.create(f"{ARTIFACT}/file", b"")
    if marker is not None:
        store.create(MARKER, marker)
    with pytest.raises(InputError, match=MARKER):
        remove(store, f"{ARTIFACT}/file")
    assert store.exists(f"{ARTIFACT}/file")


def test_a_root_is_marked_once(store: Store) -> None:
    mark(store)
    first = json.loads(store.read(MARKER))
    mark(open_store(store.root))
    assert json.loads(store.read(MARKER)) == first


@pytest.mark.parametrize("link", ["student", ARTIFACT, f"{ARTIFACT}/units"])
def test_nothing_is_removed_through_a_link(store: Store, tmp_path: Path, link: str) -> None:
    mark(store)
    path, elsewhere = f"{ARTIFACT}/units/train.json", tmp_path / "elsewhere"
    kept = elsewhere / Path(path).relative_to(link)
    kept.parent.mkdir(parents=True)
    kept.write_text("not ours")
    assert store.folder
    (store.folder / link).parent.mkdir(parents=True, exist_ok=True)
    (store.folder / link).symlink_to(elsewhere)
    assert remove(store, path) is False
    assert kept.read_text() == "not ours"
