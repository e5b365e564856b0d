"""Bytes under a root: created once, read whole. The only room that knows what a root is made of."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from pipeline.errors import InputError

REQUESTS_AT_ONCE = 16
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Entry:
    """One stored file; `path` is relative to the root."""

    path: str
    bytes: int
    modified: datetime


class Store(Protocol):
    """Paths are relative to the root, with "/" between their parts.

    root: what `open_store` opens again, in any process. folder: where the root lies on this machine; None
    for object storage. retries: requests of this process that had to be made again.
    Every operation raises StoreError where the store refuses or cannot be reached.
    """

    @property
    def root(self) -> str: ...

    @property
    def folder(self) -> Path | None: ...

    @property
    def retries(self) -> int: ...

    def __hash__(self) -> int: ...

    def require_writable(self) -> None:
        """Raise InputError unless the root can be written to and creates a file only where there is none."""

    def exists(self, path: str) -> bool: ...

    def read(self, path: str) -> bytes:
        """Raises FileNotFoundError where there is nothing."""

    def download(self, path: str, target: Path) -> None:
        """Copy a file to this machine. Raises FileNotFoundError where there is nothing."""

    def create(self, path: str, content: bytes | Path) -> bool:
        """Write a file unless one is there, never half of it; content: the bytes, or a local file.

        True where the file now holds exactly this content, False where it holds another writer's.
        """

    def replace(self, path: str, content: bytes) -> None:
        """Write a file over whatever is there: for progress notes and logs, which are no artifacts."""

    def folders(self, path: str, limit: int | None = None) -> list[str]:
        """Names of the folders directly under `path`, sorted; no more than `limit` of them, where it is given."""

    def files(self, path: str) -> Iterator[Entry]:
        """Every file under `path`, at any depth."""

    def remove(self, path: str) -> None:
        """For garbage collection alone. A file that is gone already is no error."""


def open_store(root: str | os.PathLike[str]) -> Store:
    """The store of a root: s3://bucket/prefix, file:///folder, or a folder. Raises InputError."""
    text = os.fspath(root).removeprefix("file://")
    if text.startswith("s3://"):
        from pipeline.store.s3 import S3Store

        return S3Store(text)
    if "://" in text:
        raise InputError(f"the root {text} is neither a folder nor s3://bucket/prefix")
    from pipeline.store.folder import FolderStore

    return FolderStore(Path(text).absolute())


def at_once(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """function(item) of every item, in order, many at a time: to wait for a store one by one takes hours."""
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
        return list(threads.map(function, items))


def inside(path: str) -> str:
    """The path itself. Raises InputError where it leads out of the root."""
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise InputError(f"{path} leads out of the root")
    return path
