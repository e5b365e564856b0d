"""A root in a local folder, or in a file system that every machine of the cluster mounts."""

import contextlib
import errno
import filecmp
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePosixPath

from pipeline.core.errors import InputError, StoreError
from pipeline.store import LONGEST_PATH, Entry, inside, require_small

LONGEST_PLACE = 4096  # bytes of a whole path: PATH_MAX of Linux
REMEDIES = {
    errno.ENOSPC: "make room and run the same command again",
    errno.EDQUOT: "make room in the quota and run the same command again",
    errno.EROFS: "mount it writable, or choose another --root",
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EIO: "check the disk",
    errno.ENAMETOOLONG: "choose shorter names, or a shorter --root",
}


class FolderStore:
    """Store in a folder. Listing and removing follow no link below it."""

    retries = 0

    def __init__(self, folder: Path) -> None:
        self.root = str(folder)
        self.folder = folder

    def require_writable(self) -> None:
        if len(os.fsencode(self.root)) + LONGEST_PATH > LONGEST_PLACE:
            raise InputError(f"the path of the root {self.root} is too long; choose a shorter --root")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=".probe-") as probe:
                _fill(Path(probe) / "a", b"probe")
                os.link(Path(probe) / "a", Path(probe) / "b")
        except OSError as error:
            raise InputError(f"cannot write to the root {self.root}: {_explained(error)}") from None

    def exists(self, path: str) -> bool:
        with self._failures("look at", path):
            return self._at(path).is_file()

    def read(self, path: str, limit: int | None = None) -> bytes:
        with self._failures("read", path, passing=IsADirectoryError), self._at(path).open("rb") as file:
            require_small(f"{self.root}/{path}", os.fstat(file.fileno()).st_size, limit)
            return file.read()

    def download(self, path: str, target: Path) -> None:
        with self._failures("copy", path, f" to {target}", passing=IsADirectoryError):
            shutil.copyfile(self._at(path), target)

    def create(self, path: str, content: bytes | Path) -> bool:
        with self._failures("create", path), self._scratch(path, content) as (scratch, target):
            try:
                os.link(scratch, target)  # unlike a rename, it fails if the target exists
            except FileExistsError:
                return filecmp.cmp(scratch, target, shallow=False)
            _sync(target.parent)
        return True

    def replace(self, path: str, content: bytes) -> None:
        with self._failures("write", path), self._scratch(path, content) as (scratch, target):
            os.replace(scratch, target)

    def folders(self, path: str, limit: int | None = None) -> list[str]:
        place = self._at(path)
        with self._failures("list", path):
            names = (entry.name for entry in place.iterdir() if entry.is_dir()) if place.is_dir() else iter(())
            return sorted(islice(names, limit))

    def files(self, path: str) -> Iterator[Entry]:
        with self._failures("list", path):
            try:
                top = self._open(path)
            except _LinkError as link:
                yield Entry(link.path, 0, datetime.fromtimestamp(0, UTC), link=True)
                return
            except (FileNotFoundError, NotADirectoryError):
                return
            try:
                for folder, below, names, handle in os.fwalk(".", dir_fd=top, onerror=_fail):
                    below.sort()
                    for name in sorted([*below, *names]):
                        place = (PurePosixPath(path) / folder / name).as_posix()
                        with contextlib.suppress(FileNotFoundError):  # a scratch file that its writer has removed
                            about = os.stat(name, dir_fd=handle, follow_symlinks=False)
                            if not stat.S_ISDIR(about.st_mode):
                                yield _entry(place, about)
            finally:
                os.close(top)

    def remove(self, path: str, modified: datetime | None = None) -> bool:
        with self._failures("remove", path):
            where = PurePosixPath(inside(path))
            try:
                handle = self._open(str(where.parent))
            except (FileNotFoundError, NotADirectoryError):
                return False
            try:
                entry = _entry(path, os.stat(where.name, dir_fd=handle, follow_symlinks=False))
                if entry.link or modified not in (None, entry.modified):
                    return False
                os.unlink(where.name, dir_fd=handle)
            except FileNotFoundError:
                return False
            finally:
                os.close(handle)
            return True

    def _at(self, path: str) -> Path:
        return self.folder / inside(path)

    def _open(self, path: str) -> int:
        """A handle of a folder below the root. Raises _LinkError if the path leads through a link."""
        parts = PurePosixPath(inside(path)).parts
        handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        for depth, part in enumerate(parts, 1):
            try:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
            except OSError as error:
                if error.errno in (errno.ENOTDIR, errno.ELOOP) and _is_link(part, handle):
                    raise _LinkError("/".join(parts[:depth])) from None
                raise
            finally:
                os.close(handle)
            handle = below
        return handle

    @contextlib.contextmanager
    def _failures(
        self, deed: str, path: str, more: str = "", passing: type[OSError] = FileNotFoundError
    ) -> Iterator[None]:
        """Convert OSError to StoreError, except FileNotFoundError and FileExistsError.

        passing: another exception to let through.
        """
        try:
            yield
        except (FileNotFoundError, FileExistsError, passing):
            raise
        except OSError as error:
            raise StoreError(f"cannot {deed} {self.root}/{path}{more}: {_explained(error)}") from None

    @contextlib.contextmanager
    def _scratch(self, path: str, content: bytes | Path) -> Iterator[tuple[Path, Path]]:
        """A private scratch file with the content, beside the target; unlike mkstemp's, with the usual permissions."""
        target = self._at(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, f"{error.filename} is a file") from None
        scratch = target.with_name(f".{uuid.uuid4().hex}.part")
        try:
            _fill(scratch, content)
            yield scratch, target
        finally:
            with contextlib.suppress(OSError):  # the cause has raised its own error already
                scratch.unlink(missing_ok=True)


class _LinkError(NotADirectoryError):
    """A path leads through a link. path: of the link, below the root."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.ENOTDIR, "it is a link")
        self.path = path


def _is_link(name: str, folder: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _entry(path: str, about: os.stat_result) -> Entry:
    modified = datetime.fromtimestamp(about.st_mtime, UTC)
    return Entry(path, about.st_size, modified, link=not stat.S_ISREG(about.st_mode))


def _explained(error: OSError) -> str:
    """What went wrong and what to do about it."""
    return f"{error.strerror or error}; {REMEDIES.get(error.errno or 0, 'choose another --root')}"


def _fail(error: OSError) -> None:
    raise error


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
    """Make a new name in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
