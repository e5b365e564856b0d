"""Roots and artifacts as users name them on the command line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from pipeline.core.errors import InputError
from pipeline.store import Store, open_store
from pipeline.store.root import MARKER
from pipeline.store.step import KINDS

ROOT_HELP = "Folder or s3://bucket/prefix that holds all artifacts."
RootArgument = Annotated[str, typer.Argument(metavar="ROOT", help=ROOT_HELP)]


def is_root(place: str) -> bool:
    """Whether a place is a root that undertow has marked."""
    return ("://" in place or Path(place).is_dir()) and open_store(place).exists(MARKER)


def existing(root: str) -> Store:
    """The store of a root that is there. Raises InputError."""
    store = open_store(root)
    if store.folder is not None and not store.folder.is_dir():
        raise InputError(f"there is no folder {root}; name the --root of a run")
    return store


def split(place: str) -> tuple[str, str]:
    """The root and the path of an artifact's folder: runs/student/x-id -> runs, student/x-id. Reads nothing."""
    *above, kind, name = (place if "://" in place else str(Path(place).absolute())).rstrip("/").split("/")
    return "/".join(above) or "/", f"{kind}/{name}"


def names_artifact(place: str) -> bool:
    """Whether a place is an artifact's folder by its name."""
    return split(place)[1].partition("/")[0] in KINDS


def located(place: str) -> tuple[Store, str]:
    """The store of an artifact's folder, and the path in it. Raises InputError unless the artifact is finished."""
    from pipeline.store import artifact

    root, path = split(place)
    store = open_store(root)
    if not artifact.exists(store, path):
        raise InputError(f"{place} is no finished artifact: it has no {artifact.MANIFEST}")
    return store, path


def write_files(files: Mapping[str, bytes], out: Path) -> list[str]:
    """Write files by name into a folder, which is made if it is missing; their paths. Raises InputError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror}; name another folder") from None
    return [str(out / name) for name in files]
