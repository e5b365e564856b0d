"""A root that is a folder of this machine, or of a file system that every machine of the cluster mounts."""

import contextlib
import filecmp
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from pipeline.errors import InputError
from pipeline.store import Entry, inside


class FolderStore:
    """Store over a folder."""

    retries = 0

    def __init__(self, folder: Path) -> None:
        self.root = str(folder)
        self.folder = folder

    def require_writable(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=".probe-") as probe:
                (Path(probe) / "a").touch()
                os.link(Path(probe) / "a", Path(probe) / "b")
        except OSError as error:
            raise InputError(f"cannot write to the root {self.root}: {error.strerror}; choose another --root") from None

    def exists(self, path: str) -> bool:
        return self._at(path).is_file()

    def read(self, path: str) -> bytes:
        return self._at(path).read_bytes()

    def download(self, path: str, target: Path) -> None:
        shutil.copyfile(self._at(path), target)

    def create(self, path: str, content: bytes | Path) -> bool:
        with self._scratch(path, content) as (scratch, target):
            try:
                os.link(scratch, target)  # unlike a rename, it fails where the target exists
            except FileExistsError:
                return filecmp.cmp(scratch, target, shallow=False)
            _sync(target.parent)
        return True

    def replace(self, path: str, content: bytes) -> None:
        with self._scratch(path, content) as (scratch, target):
            os.replace(scratch, target)

    def folders(self, path: str, limit: int | None = None) -> list[str]:
        place = self._at(path)
        names = (entry.name for entry in place.iterdir() if entry.is_dir()) if place.is_dir() else iter(())
        return sorted(islice(names, limit))

    def files(self, path: str) -> Iterator[Entry]:
        for folder, _, names in os.walk(self._at(path)):
            for name in sorted(names):
                file = Path(folder) / name
                with contextlib.suppress(FileNotFoundError):  # a scratch file that its writer was done with
                    about = file.stat()
                    yield Entry(
                        file.relative_to(self.folder).as_posix(),
                        about.st_size,
                        datetime.fromtimestamp(about.st_mtime, UTC),
                    )

    def remove(self, path: str) -> None:
        self._at(path).unlink(missing_ok=True)

    def _at(self, path: str) -> Path:
        return self.folder / inside(path)

    @contextlib.contextmanager
    def _scratch(self, path: str, content: bytes | Path) -> Iterator[tuple[Path, Path]]:
        """A filled file beside the target that nobody else writes to; unlike mkstemp's, readable by all who may."""
        target = self._at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f".{uuid.uuid4().hex}.part")
        try:
            _fill(scratch, content)
            yield scratch, target
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


def _sync(folder: Path) -> None:
    """Make the new name in a folder outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
