"""Local copies of artifact folders, from which engines and trainers load models."""

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

WEIGHTS = ".safetensors"  # large files: linked instead of copied if the root is local


def local_folder(store: Store, path: str, files: Sequence[File], name: str) -> Path:
    """A local folder with exactly the files `name`/... of an artifact, each checked against its digest.

    Model loaders read a whole folder: a stray template or adapter beside the manifest's files would change the model.
    So this is never the artifact's own folder but one in this machine's cache, shared by all processes and named for
    the artifact and a digest of the files. Weights under a local root are linked; everything else is copied. Each
    process checks the folder once. Raises ArtifactError if a file is missing or differs.
    """
    return _checked(store, path, tuple(file for file in files if file.path.startswith(f"{name}/")), name)


@cache
def _checked(store: Store, path: str, files: tuple[File, ...], name: str) -> Path:
    if not files:
        raise ArtifactError(f"{path} has no {name}")
    # The root is part of the key because links point into it.
    key = (str(store.folder or ""), [(file.path, file.place, file.sha256) for file in files])
    target = cache_folder() / path / hashlib.sha256(repr(key).encode()).hexdigest()
    if target.is_dir():
        _require_exact(target, path, files)
    else:
        _gather(store, path, files, target)
    return target / name


def _require_exact(target: Path, path: str, files: Sequence[File]) -> None:
    """Raise ArtifactError unless the folder holds exactly these files."""
    for file in files:
        copy = target / file.path
        if not copy.is_file() or digest(copy) != (file.bytes, file.sha256):
            raise ArtifactError(
                f"{copy} is not what the manifest of {path} says: missing, or its SHA-256 differs. If `undertow "
                f"verify` finds no fault in {path}, remove {target} and run again."
            )
    strays = sorted(_names(target) - {file.path for file in files})
    if strays:
        raise ArtifactError(
            f"{target} holds what the manifest of {path} does not name, such as {strays[0]}: remove that folder, which "
            "is part of the cache, and run again"
        )


def _names(folder: Path) -> set[str]:
    """Relative paths of all files and links under a folder."""
    return {
        (Path(above) / name).relative_to(folder).as_posix()
        for above, folders, files in os.walk(folder)
        for name in [*files, *(name for name in folders if (Path(above) / name).is_symlink())]
    }


def _gather(store: Store, path: str, files: Sequence[File], target: Path) -> None:
    """Create the folder atomically, with every file checked."""
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
    """A folder shared by all processes of a machine: $UNDERTOW_CACHE, or one in the system's temporary folder.

    Raises InputError if another user could have written to it.
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
