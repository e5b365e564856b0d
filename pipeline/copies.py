"""Folders of artifacts on this machine, for those who load models: engines and trainers."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pipeline.artifact import File, measured
from pipeline.errors import ArtifactError
from pipeline.store import Store


def local_folder(store: Store, path: str, files: Sequence[File], name: str) -> Path:
    """The folder `name` of an artifact, every file of it checked against its digest, once a process.

    On a folder it is where it lies. Out of object storage it is copied to a cache that all processes of a machine
    share, $UNDERTOW_CACHE or a folder beside other temporary files, under a name made of the digests.
    Raises ArtifactError where a file is missing or differs.
    """
    return _checked(store, path, tuple(file for file in files if file.path.startswith(f"{name}/")), name)


@cache
def _checked(store: Store, path: str, files: tuple[File, ...], name: str) -> Path:
    if not files:
        raise ArtifactError(f"{path} has no {name}")
    if store.folder is not None:
        above = store.folder / path / files[0].place.removesuffix(files[0].path)
    else:
        above = _fetched(store, path, files)
    for file in files:
        copy = above / file.path
        if not copy.is_file() or measured(copy) != (file.bytes, file.sha256):
            raise ArtifactError(f"{copy} is not what the manifest of {path} says: missing, or its SHA-256 differs")
    return above / name


def cache_folder() -> Path:
    """A folder that all processes of a machine share: $UNDERTOW_CACHE, or one beside other temporary files."""
    place = Path(os.environ.get("UNDERTOW_CACHE") or Path(tempfile.gettempdir()) / f"undertow-{os.getuid()}")
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def _fetched(store: Store, path: str, files: tuple[File, ...]) -> Path:
    """Where the files lie in this machine's cache, after they were copied there unless they were there already."""
    place = cache_folder()
    target = place / hashlib.sha256(repr([(file.path, file.sha256) for file in files]).encode()).hexdigest()
    if target.is_dir():
        return target
    with tempfile.TemporaryDirectory(dir=place, prefix=".fetching-") as scratch:
        fetched = Path(scratch) / "files"
        for file in files:
            _fetch(store, path, file, fetched / file.path)
        try:
            fetched.rename(target)
        except OSError:
            if not target.is_dir():  # else another process of this machine was first
                raise
    return target


def _fetch(store: Store, path: str, file: File, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        store.download(f"{path}/{file.place}", copy)
    except FileNotFoundError:
        raise ArtifactError(f"{path}/{file.place} is missing though its manifest names it") from None
    if measured(copy) != (file.bytes, file.sha256):
        raise ArtifactError(f"{path}/{file.place} is not what its manifest says: its SHA-256 differs")
