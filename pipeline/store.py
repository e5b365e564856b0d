"""Bytes under a root: created once, read whole. The only module that knows what a root is made of."""

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pipeline.errors import InputError


class Store:
    """A folder of this machine (or of a file system that every machine of the cluster mounts).

    Paths are relative to the root, with "/" between their parts. Object storage is not built yet:
    opening an s3:// root says so.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        text = os.fspath(root).removeprefix("file://")
        if "://" in text:
            raise InputError(f"the root {text} is no local path: only folders are supported so far")
        self.root = Path(text).absolute()

    def require_writable(self) -> None:
        """Raise InputError unless the root exists or can be made, and can be written to."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise InputError(f"cannot write to the root {self.root}: {error.strerror}; choose another --root") from None

    def exists(self, path: str) -> bool:
        return self._at(path).is_file()

    def read(self, path: str) -> bytes:
        """Raises FileNotFoundError where there is nothing."""
        return self._at(path).read_bytes()

    def create(self, path: str, content: bytes | Path) -> bool:
        """Write a file unless it is there; False where somebody else was first. Never half a file.

        content: the bytes, or a local file to copy.
        """
        target = self._at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._scratch(target) as scratch:
            _fill(scratch, content)
            try:
                os.link(scratch, target)  # unlike a rename, it fails where the target exists
            except FileExistsError:
                return False
        return True

    def replace(self, path: str, content: bytes) -> None:
        """Write a file over whatever is there: for progress notes, which are no artifacts."""
        target = self._at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._scratch(target) as scratch:
            _fill(scratch, content)
            os.replace(scratch, target)

    def local(self, path: str) -> Path:
        """Where the file or folder lies on this machine."""
        return self._at(path)

    def folders(self, path: str) -> list[str]:
        """Names of the folders directly under `path`, sorted; for people's commands, not for planning."""
        place = self._at(path)
        return sorted(entry.name for entry in place.iterdir() if entry.is_dir()) if place.is_dir() else []

    def _at(self, path: str) -> Path:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise InputError(f"{path} leads out of the root")
        return self.root / path

    @staticmethod
    @contextlib.contextmanager
    def _scratch(target: Path) -> Iterator[Path]:
        """A path beside the target that nobody else writes to; unlike mkstemp's, readable by all who may."""
        scratch = target.with_name(f".{uuid.uuid4().hex}.part")
        try:
            yield scratch
        finally:
            scratch.unlink(missing_ok=True)


def _fill(scratch: Path, content: bytes | Path) -> None:
    with scratch.open("wb") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            with content.open("rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
