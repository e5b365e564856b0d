"""Folders of artifacts on this machine, for those who load models: engines and trainers."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pipeline.core.errors import ArtifactError, InputError
from pipeline.store import Store
from pipeline.store.artifact import File, digest

WEIGHTS = ".safetensors"  # the suffix of files that are too large to copy where they can be linked to


def local_folder(store: Store, path: str, files: Sequence[File], name: str) -> Path:
    """A local folder that holds exactly the files `name`/... of an artifact, every one with its digest.

    Whoever loads a model reads its whole folder: a template or an adapter beside the files that a manifest names would
    change it. So it is never the artifact's own folder, but one in the cache of this machine, which all its processes
    share, named for the artifact and a digest of the files. Weights under a local root are links to it; all else is a
    copy. It is checked once per process. Raises ArtifactError where a file is missing or differs.
    """
    return _checked(store, path, tuple(file for file in files if file.path.startswith(f"{name}/")), name)


@cache
def _checked(store: Store, path: str, files: tuple[File, ...], name: str) -> Path:
    if not files:
        raise ArtifactError(f"{path} has no {name}")
    # Links are good for one root only.
    key = (str(store.folder or ""), [(file.path, file.place, file.sha256) for file in files])
    target = cache_folder() / path / hashlib.sha256(repr(key).encode()).hexdigest()
    if target.is_dir():
        _require_exact(target, path, files)
    else:
        _gather(store, path, files, target)
    return target / name


def _require_exact(target: Path, path: str, files: Sequence[File]) -> None:
    """Raises ArtifactError unless the folder holds the files, and nothing else."""
    for file in files:
        copy = target / file.path
        if not copy.is_file() or digest(copy) != (file.bytes, file.sha256):
            raise ArtifactError(
                f"{copy} is not what the manifest of {path} says: missing, or its SHA-256 differs. Where `undertow "
                f"verify` finds no fault in {path}, remove {target} and run again."
            )
    strays = sorted(_names(target) - {file.path for file in files})
    if strays:
        raise ArtifactError(
            f"{target} holds what the manifest of {path} does not name, such as {strays[0]}: remove that folder, which "
            "is part of the cache, and run again"
        )


def _names(folder: Path) -> set[str]:
    """Everything in a folder that is not a plain folder itself."""
    return {
        (Path(above) / name).relative_to(folder).as_posix()
        for above, folders, files in os.walk(folder)
        for name in [*files, *(name for name in folders if (Path(above) / name).is_symlink())]
    }


def _gather(store: Store, path: str, files: Sequence[File], target: Path) -> None:
    """Make the folder, all at once, of files that have been checked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as scratch:
        gathered = Path(scratch) / "files"
        for file in files:
            _bring(store, path, file, gathered / file.path)
        try:
            gathered.rename(target)
        except OSError:
            if not target.is_dir():  # else another process of this machine was first
                raise


def _bring(store: Store, path: str, file: File, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        if store.folder is not None and file.path.endswith(WEIGHTS):
            copy.symlink_to((store.folder / path / file.place).resolve(strict=True))
        else:
            store.download(f"{path}/{file.place}", copy)
        differs = digest(copy) != (file.bytes, file.sha256)
    except FileNotFoundError:
        raise ArtifactError(f"{path}/{file.place} is missing though its manifest names it") from None
    except IsADirectoryError:
        differs = True
    if differs:
        raise ArtifactError(f"{path}/{file.place} is not what its manifest says: its SHA-256 differs")


def cache_folder() -> Path:
    """A folder that all processes of a machine share: $UNDERTOW_CACHE, or one beside other temporary files.

    Raises InputError where anybody else could have put something there.
    """
    place = Path(os.environ.get("UNDERTOW_CACHE") or Path(tempfile.gettempdir()) / f"undertow-{os.getuid()}")
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = place.lstat()
    except OSError as error:
        raise InputError(f"cannot use the cache {place}: {error.strerror}; set UNDERTOW_CACHE") from None
    if not stat.S_ISDIR(about.st_mode):
        fault = "it is a link"
    elif about.st_uid != os.geteuid():
        fault = "it belongs to another user"
    elif about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        fault = "other users can write to it"
    else:
        return place
    raise InputError(f"the cache {place} is not safe: {fault}. Set UNDERTOW_CACHE to a folder that only you can write.")
