"""The store: create-if-absent, whole files only, nothing outside of the root, no link followed."""

import errno
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.core.errors import InputError, StoreError
from pipeline.store import Store, open_store


def files_under(store: Store) -> set[str]:
    return {entry.path for entry in store.files("")}


def test_the_first_writer_wins_and_a_late_one_changes_nothing(store: Store) -> None:
    assert store.create("a/b/file", b"first")
    assert not store.create("a/b/file", b"second")
    assert store.read("a/b/file") == b"first"
    assert files_under(store) == {"a/b/file"}


def test_a_local_file_is_copied(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3_000_000))
    assert store.create("copy", source)
    assert store.read("copy") == source.read_bytes()
    source.write_bytes(b"changed later")
    assert len(store.read("copy")) == 3_000_000


def test_replace_writes_over_what_is_there(store: Store) -> None:
    store.replace("note", b"one")
    store.replace("note", b"two")
    assert store.read("note") == b"two"
    assert files_under(store) == {"note"}


def test_a_write_that_fails_leaves_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.create("a/file", tmp_path / "no such file")
    assert not store.exists("a/file")
    assert files_under(store) == set()


def test_reading_what_is_not_there(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.read("nothing")
    assert not store.exists("nothing")
    assert store.folders("nothing") == []


def test_a_listing_of_folders_can_be_bounded(store: Store) -> None:
    for name in ("a", "b", "c"):
        store.create(f"kind/{name}/file", b"")
    assert len(store.folders("kind", limit=2)) == 2
    assert store.folders("kind", limit=5) == ["a", "b", "c"]
    assert store.folders("nothing", limit=2) == []


def test_a_folder_is_no_file_and_folders_are_listed_in_order(store: Store) -> None:
    for path in ("kind/b/file", "kind/a/file", "kind/loose"):
        store.create(path, b"")
    assert not store.exists("kind/a")
    assert store.folders("kind") == ["a", "b"]


@pytest.mark.parametrize("path", ["../up", "a/../../up", "/etc/passwd", "a/.."])
@pytest.mark.parametrize(
    "use",
    [
        lambda store, path: store.read(path),
        lambda store, path: store.create(path, b""),
        lambda store, path: store.replace(path, b""),
        lambda store, path: store.exists(path),
        lambda store, path: store.remove(path),
        lambda store, path: list(store.files(path)),
        lambda store, path: store.folders(path),
    ],
)
def test_no_path_leads_out_of_the_root(store: Store, use: Callable[[Store, str], object], path: str) -> None:
    with pytest.raises(InputError, match="leads out of the root"):
        use(store, path)


PATHS = st.sampled_from(["a", "b", "c/d", "c/e", "c/f/g"])
CONTENT = st.binary(max_size=8)
DEEDS = st.one_of(
    st.tuples(st.just("create"), PATHS, CONTENT),
    st.tuples(st.just("replace"), PATHS, CONTENT),
    st.tuples(st.just("read"), PATHS, st.just(b"")),
)


@hypothesis_settings(max_examples=50, deadline=None)
@given(st.lists(DEEDS, max_size=12))
def test_behaves_as_a_dictionary_that_create_never_overwrites(deeds: list[tuple[str, str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store, expected = open_store(folder), dict[str, bytes]()
        for deed, path, content in deeds:
            if deed == "create":
                assert store.create(path, content) == (expected.setdefault(path, content) == content)
            elif deed == "replace":
                store.replace(path, content)
                expected[path] = content
            assert store.exists(path) == (path in expected)
        assert {path: store.read(path) for path in files_under(store)} == expected


def test_of_many_writers_at_once_one_wins_and_readers_see_all_or_nothing(store: Store) -> None:
    contents = [bytes([number]) * 200_000 for number in range(2)]
    for name in map(str, range(10)):
        seen: list[bytes] = []
        won: list[int] = []
        start = threading.Barrier(3)

        def write(number: int, name: str = name, start: threading.Barrier = start, won: list[int] = won) -> None:
            start.wait()
            if store.create(name, contents[number]):
                won.append(number)

        def look(name: str = name, start: threading.Barrier = start, seen: list[bytes] = seen) -> None:
            start.wait()
            while len(seen) < 3:
                if store.exists(name):
                    seen.append(store.read(name))

        threads = [threading.Thread(target=write, args=(0,)), threading.Thread(target=write, args=(1,))]
        threads.append(threading.Thread(target=look))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert set(seen) == {contents[won[0]]}
    assert files_under(store) == set(map(str, range(10)))


def test_of_two_processes_one_wins_each_file(store: Store) -> None:
    write = (
        "import sys; from pipeline.store import open_store; s = open_store(sys.argv[1]); sys.stdin.read(1);"
        "print(*[i for i in range(60) if s.create(f'f/{i}', sys.argv[2].encode() * 5000)])"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", write, str(store.folder), who], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for who in "ab"
    ]
    for writer in writers:
        assert writer.stdin
        writer.stdin.write(b"!")
        writer.stdin.flush()
    won = [set(writer.communicate()[0].decode().split()) for writer in writers]
    assert not won[0] & won[1]
    assert won[0] | won[1] == set(map(str, range(60)))
    for who, files in zip((b"a", b"b"), won, strict=True):
        assert all(store.read(f"f/{name}") == who * 5000 for name in files)


def test_a_root_is_made_when_it_can_be(tmp_path: Path) -> None:
    store = open_store(tmp_path / "new" / "root")
    store.require_writable()
    assert store.folder.is_dir()
    assert files_under(store) == set()


@pytest.mark.parametrize("root", ["file", "file/below", "/proc/undertow"])
def test_a_root_that_cannot_be_written_to_is_refused(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=r"cannot write to the root .* choose another --root"):
        open_store(tmp_path / root).require_writable()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_roots_that_are_no_folders_are_refused_and_file_urls_are_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a folder nor s3"):
        open_store("gs://bucket/runs")
    with pytest.raises(InputError, match="names no bucket"):
        open_store("s3://")
    assert open_store(f"file://{tmp_path}").folder == tmp_path


@pytest.mark.parametrize("root", ["", " ", "\t\n", "file://", "file:// ", "runs\0"])
def test_a_root_without_a_name_is_not_the_working_directory(root: str) -> None:
    with pytest.raises(InputError, match="names no place"):
        open_store(root)


def test_a_root_that_leaves_no_room_for_keys_or_paths_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"prefix of the root .* too long"):
        open_store(f"s3://bucket/{'p' * 400}")
    with pytest.raises(InputError, match=r"path of the root .* too long"):
        open_store(tmp_path / "/".join(["d" * 200] * 18)).require_writable()


def linked(store: Store, elsewhere: Path) -> None:
    """A root with a folder, a file and a whole kind that are links, and one real file."""
    (elsewhere / "below").mkdir(parents=True)
    for name in ("file", "below/file"):
        (elsewhere / name).write_text("not ours")
    store.create("kind/real/file", b"ours")
    assert store.folder
    (store.folder / "kind/linked").symlink_to(elsewhere)
    (store.folder / "kind/real/file-link").symlink_to(elsewhere / "file")
    (store.folder / "kind/real/folder-link").symlink_to(elsewhere / "below")
    (store.folder / "other").symlink_to(elsewhere)


def test_links_are_listed_as_links_and_never_followed(store: Store, tmp_path: Path) -> None:
    linked(store, tmp_path / "elsewhere")
    found = {(entry.path, entry.link) for entry in store.files("")}
    links = {"kind/linked", "kind/real/file-link", "kind/real/folder-link", "other"}
    assert found == {("kind/real/file", False)} | {(path, True) for path in links}
    assert [(entry.path, entry.link) for entry in store.files("kind/linked")] == [("kind/linked", True)]
    assert [(entry.path, entry.link) for entry in store.files("other/below")] == [("other", True)]


@pytest.mark.parametrize(
    "path",
    ["kind/linked", "kind/linked/file", "kind/real/file-link", "kind/real/folder-link/file", "other/below/file"],
)
def test_nothing_is_removed_through_a_link_nor_the_link_itself(store: Store, tmp_path: Path, path: str) -> None:
    linked(store, tmp_path / "elsewhere")
    assert store.remove(path) is False
    assert store.folder
    assert (store.folder / path).exists()
    assert (tmp_path / "elsewhere/below/file").read_text() == "not ours"


def test_a_file_is_removed_only_while_it_is_as_it_was_listed(store: Store) -> None:
    store.create("a/file", b"")
    (entry,) = store.files("a")
    assert store.folder
    os.utime(store.folder / "a/file", (0, 0))
    assert store.remove("a/file", entry.modified) is False
    assert store.exists("a/file")
    (entry,) = store.files("a")
    assert store.remove("a/file", entry.modified) is True
    assert store.remove("a/file", entry.modified) is False
    assert store.remove("b/file") is False


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EROFS, "writable"),
        (errno.EIO, "check the disk"),
        (errno.EACCES, "permissions"),
        (errno.ESTALE, "choose another --root"),
    ],
)
@pytest.mark.parametrize("deed", ["create", "replace"])
def test_what_the_file_system_refuses_names_the_path_and_the_remedy_and_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, deed: str, code: int, remedy: str
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    store.create("kind/other", b"")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreError, match=rf"kind/file: {os.strerror(code)}; .*{remedy}"):
        getattr(store, deed)("kind/file", b"content")
    assert files_under(store) == {"kind/other"}


@pytest.mark.parametrize(
    "use",
    [
        lambda store, path: store.read(path),
        lambda store, path: store.exists(path),
        lambda store, path: store.create(path, b""),
        lambda store, path: store.replace(path, b""),
        lambda store, path: store.remove(path),
        lambda store, path: list(store.files(path)),
    ],
)
def test_a_name_that_is_too_long_is_said_and_no_traceback(store: Store, use: Callable[[Store, str], object]) -> None:
    store.create("kind/file", b"")
    with pytest.raises(StoreError, match="File name too long; choose shorter names"):
        use(store, f"kind/{'n' * 256}/file")
