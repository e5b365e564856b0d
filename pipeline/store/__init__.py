"""Files under a root, each created once and read whole. Only this package knows how a root is stored."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Protocol, TypeVar

from pipeline.core.errors import InputError, StoreError

REQUESTS_AT_ONCE = 16
LONGEST_NAME = 255  # bytes per part of a path: NAME_MAX of Linux file systems
LONGEST_PATH = 700  # bytes below the root; the planner keeps step names short enough
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Entry:
    """One stored file; `path` is relative to the root. link: whether it is a link or device instead of a file."""

    path: str
    bytes: int
    modified: datetime
    link: bool = False


class Store(Protocol):
    """Files under one root. Paths are relative to the root, with "/" between their parts.

    root: the argument with which any process can call `open_store`. folder: the root on this machine; None for
    object storage. retries: number of requests that this process repeated.
    Every operation raises StoreError if the store refuses it or cannot be reached.
    """

    @property
    def root(self) -> str: ...

    @property
    def folder(self) -> Path | None: ...

    @property
    def retries(self) -> int: ...

    def __hash__(self) -> int: ...

    def require_writable(self) -> None:
        """Raise InputError unless the root is writable and never overwrites a file on `create`."""

    def exists(self, path: str) -> bool: ...

    def read(self, path: str, limit: int | None = None) -> bytes:
        """The bytes of a file. Raises FileNotFoundError if there is none, IsADirectoryError if it is a folder, and
        StoreError if it is larger than `limit` bytes."""

    def download(self, path: str, target: Path) -> None:
        """Copy a file to this machine. Raises FileNotFoundError and IsADirectoryError as `read`."""

    def create(self, path: str, content: bytes | Path) -> bool:
        """Write a file atomically unless it exists. content: the bytes, or a local file.

        True if the file now holds exactly this content, False if it holds another writer's.
        """

    def replace(self, path: str, content: bytes) -> None:
        """Write a file, overwriting an existing one: for status files and logs, which are not artifacts."""

    def folders(self, path: str, limit: int | None = None) -> list[str]:
        """Names of the folders directly under `path`, sorted; at most `limit` of them."""

    def files(self, path: str) -> Iterator[Entry]:
        """Every file under `path`, at any depth. Follows no link, not even in `path` itself or above it."""

    def remove(self, path: str, modified: datetime | None = None) -> bool:
        """Remove a file, following no link. Only for `pipeline.store.removal` and a store's own probes.

        False if nothing was removed: the file is gone already, is a link, or has another time than `modified`.
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


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """function(item) for every item, in order, computed concurrently: one request at a time would take hours."""
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
        return list(threads.map(function, items))


def inside(path: str) -> str:
    """The path itself. Raises InputError if it leads out of the root."""
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise InputError(f"{path} leads out of the root")
    return path


def require_small(place: str, size: int, limit: int | None) -> None:
    """Raise StoreError if a file that is read whole has more than `limit` bytes."""
    if limit is not None and size > limit:
        raise StoreError(f"{place} has {size:,} bytes; what undertow writes there has at most {limit:,}")
