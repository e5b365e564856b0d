"""Bytes under a root: created once, read whole. The only room that knows what a root is made of."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from pipeline.core.errors import InputError, StoreError

REQUESTS_AT_ONCE = 16
LONGEST_NAME = 255  # bytes of one part of a path: NAME_MAX of Linux file systems
LONGEST_PATH = 700  # bytes below the root; `plan` keeps the names of steps short enough for it
JudgeInput = TypeVar("JudgeInput")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Entry:
    """One stored file; `path` is relative to the root. link: whether it is a link or a device, and no file at all."""

    path: str
    bytes: int
    modified: datetime
    link: bool = False


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

    def read(self, path: str, limit: int | None = None) -> bytes:
        """Raises FileNotFoundError where there is nothing, IsADirectoryError where there is a folder, and StoreError
        where it is larger than `limit` bytes."""

    def download(self, path: str, target: Path) -> None:
        """Copy a file to this machine. Raises FileNotFoundError and IsADirectoryError as `read`."""

    def create(self, path: str, content: bytes | Path) -> bool:
        """Write a file unless one is there, never half of it; content: the bytes, or a local file.

        True where the file now holds exactly this content, False where it holds another writer's.
        """

    def replace(self, path: str, content: bytes) -> None:
        """Write a file over whatever is there: for progress notes and logs, which are no artifacts."""

    def folders(self, path: str, limit: int | None = None) -> list[str]:
        """Names of the folders directly under `path`, sorted; no more than `limit` of them, where it is given."""

    def files(self, path: str) -> Iterator[Entry]:
        """Every file under `path`, at any depth. No link is followed, `path` and what is above it included."""

    def remove(self, path: str, modified: datetime | None = None) -> bool:
        """Remove a file, reached through no link; for `pipeline.store.removal` and a store's own probes alone.

        False where it stays or is gone already: it is a link, or has another time than `modified`.
        """


def open_store(root: str | os.PathLike[str]) -> Store:
    """The store of a root: s3://bucket/prefix, file:///folder, or a folder. Raises InputError."""
    text = os.fspath(root).removeprefix("file://")
    if not text.strip() or "\0" in text:
        raise InputError(f"the root {os.fspath(root)!r} names no place; name a folder, or s3://bucket/prefix")
    if text.startswith("s3://"):
        from pipeline.store.s3 import S3Store

        return S3Store(text)
    if "://" in text:
        raise InputError(f"the root {text} is neither a folder nor s3://bucket/prefix")
    from pipeline.store.folder import FolderStore

    return FolderStore(Path(text).absolute())


def parallel_map(function: Callable[[JudgeInput], Result], items: Iterable[JudgeInput]) -> list[Result]:
    """function(item) of every item, in order, many at a time: to wait for a store one by one takes hours."""
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
        return list(threads.map(function, items))


def inside(path: str) -> str:
    """The path itself. Raises InputError where it leads out of the root."""
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise InputError(f"{path} leads out of the root")
    return path


def require_small(place: str, size: int, limit: int | None) -> None:
    """Raise StoreError where a file that is to be read whole has more bytes than it may have."""
    if limit is not None and size > limit:
        raise StoreError(f"{place} has {size:,} bytes; what undertow writes there has at most {limit:,}")
