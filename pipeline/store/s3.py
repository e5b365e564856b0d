"""A root on object storage, through s3fs, with the usual AWS environment, profile and endpoint settings.

Retries: botocore ("standard" mode: exponential backoff with jitter) repeats requests that were lost, throttled or
answered with a 5xx. `_with_retries` repeats transient failures that botocore does not: a conditional write that
conflicts with one in flight (409), and a reply whose body broke off. Everything else fails at once.
"""

import contextlib
import filecmp
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import tenacity
from aiohttp import ClientPayloadError
from botocore.exceptions import BotoCoreError, ClientError

from pipeline.core.errors import InputError, StoreError
from pipeline.store import LONGEST_PATH, Entry, inside, require_small

ATTEMPTS = 8  # with botocore's backoff (≤ 1, 2, 4 … 20 s) a store may be unreachable for about a minute
PARTS_AT_ONCE = 4  # of a multipart upload or download; each part takes 50 MiB of memory
PART_BYTES: int | None = None  # of an upload; None: 50 MiB as s3fs has it, or what makes 10,000 parts of a file
TRANSIENT = {"ConditionalRequestConflict", "OperationAborted", "409"}
MISSING = {"NoSuchKey", "404"}
LONGEST_KEY = 1024  # bytes, by S3's rules
EXISTS = {"PreconditionFailed", "412", "NoSuchUpload"}  # the last: an upload whose confirmation was lost


class S3Store:
    """Store in one prefix of one bucket. Create it in the process that uses it: its client does not survive a fork."""

    folder = None

    def __init__(self, root: str) -> None:
        self._bucket, _, self._prefix = root.removeprefix("s3://").rstrip("/").partition("/")
        self.root = root.rstrip("/")
        self.retries = 0
        if not self._bucket:
            raise InputError(f"the root {root} names no bucket; write it as s3://bucket/prefix")
        if len(self._prefix.encode()) + LONGEST_PATH > LONGEST_KEY:
            raise InputError(f"the prefix of the root {root} is too long: at most {LONGEST_KEY - LONGEST_PATH} bytes")

    @cached_property
    def _fs(self) -> Any:
        import s3fs
        from aiobotocore.session import AioSession

        session = AioSession()
        session.register("needs-retry.s3", self._count_retry)
        fs = s3fs.S3FileSystem(
            session=session,
            use_listings_cache=False,
            skip_instance_cache=True,
            config_kwargs={"retries": {"mode": "standard", "total_max_attempts": ATTEMPTS}},
        )
        fs.retries = 1  # s3fs's own retries have no jitter and would multiply botocore's
        return fs

    def require_writable(self) -> None:
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            try:
                honoured = self.create(probe, b"1") and not self.create(probe, b"2") and self._refuses_parts(probe)
            finally:
                with contextlib.suppress(StoreError):  # a store may forbid removal
                    self.remove(probe)
        except StoreError as error:
            raise InputError(f"cannot write to the root {self.root}: {error}") from None
        if not honoured:
            raise InputError(
                f"the store of {self.root} overwrites objects although it is asked not to (If-None-Match: *): two "
                "writers could undo each other's work there. Use a store with conditional writes."
            )

    def exists(self, path: str) -> bool:
        try:
            self._call("head_object", self._fs.call_s3, path, "head_object", Bucket=self._bucket, Key=self._key(path))
        except FileNotFoundError:
            return False
        return True

    def read(self, path: str, limit: int | None = None) -> bytes:
        if limit is not None:
            place = {"Bucket": self._bucket, "Key": self._key(path)}
            about = self._call("head_object", self._fs.call_s3, path, "head_object", **place)
            require_small(f"{self.root}/{path}", about["ContentLength"], limit)
        content: bytes = self._call("get_object", self._fs.cat_file, path, self._at(path), max_concurrency=1)
        return content

    def download(self, path: str, target: Path) -> None:
        self._call("get_object", self._fs.get_file, path, self._at(path), str(target), max_concurrency=PARTS_AT_ONCE)

    def create(self, path: str, content: bytes | Path) -> bool:
        try:
            self._put(path, content, mode="create")
        except FileExistsError:
            # The reply to our own first attempt may have been lost: compare before blaming another writer.
            try:
                return self._holds(path, content)
            except FileNotFoundError:
                raise StoreError(f"{self.root}/{path} was there a moment ago and is gone: who removes it?") from None
        return True

    def replace(self, path: str, content: bytes) -> None:
        self._put(path, content, mode="overwrite")

    def folders(self, path: str, limit: int | None = None) -> list[str]:
        pages = self._pages(path, Delimiter="/")
        names = (Path(entry["Prefix"]).name for page in pages for entry in page.get("CommonPrefixes", []))
        return sorted(islice(names, limit))  # lazily: requests no more pages than needed

    def files(self, path: str) -> Iterator[Entry]:
        above = len(self._key("")) + 1 if self._prefix else 0
        for page in self._pages(path):
            for entry in page.get("Contents", []):
                yield Entry(entry["Key"][above:], entry["Size"], entry["LastModified"])

    def remove(self, path: str, modified: datetime | None = None) -> bool:
        place = {"Bucket": self._bucket, "Key": self._key(path)}
        try:
            if modified is not None:
                about = self._call("head_object", self._fs.call_s3, path, "head_object", **place)
                if abs(about["LastModified"] - modified) >= timedelta(seconds=1):  # HTTP dates have whole seconds
                    return False
            self._call("delete_object", self._fs.call_s3, path, "delete_object", **place)
        except FileNotFoundError:
            return False
        return True

    def _pages(self, path: str, **more: str) -> Iterator[dict[str, Any]]:
        """Pages of a listing below a folder, one in memory at a time."""
        prefix = f"{self._key(path)}/".lstrip("/")
        where = {"Bucket": self._bucket, "Prefix": prefix} | more
        while True:
            page = self._call("list_objects_v2", self._fs.call_s3, path, "list_objects_v2", **where)
            yield page
            if not page.get("IsTruncated"):
                return
            where["ContinuationToken"] = page["NextContinuationToken"]

    def _put(self, path: str, content: bytes | Path, mode: str) -> None:
        settings = {"mode": mode, "max_concurrency": PARTS_AT_ONCE}
        if isinstance(content, bytes):
            self._call("put_object", self._fs.pipe_file, path, self._at(path), content, **settings)
        else:
            self._call(
                "put_object", self._fs.put_file, path, str(content), self._at(path), chunksize=PART_BYTES, **settings
            )

    def _holds(self, path: str, content: bytes | Path) -> bool:
        if isinstance(content, bytes):
            return self.read(path) == content
        with tempfile.NamedTemporaryFile(prefix="undertow-") as stored:
            self.download(path, Path(stored.name))
            return filecmp.cmp(content, stored.name, shallow=False)

    def _refuses_parts(self, path: str) -> bool:
        """Whether a multipart upload also refuses to overwrite an object."""
        place = {"Bucket": self._bucket, "Key": self._key(path)}

        def call(operation: str, **arguments: Any) -> Any:
            return self._call(operation, self._fs.call_s3, path, operation, **place, **arguments)

        upload = {"UploadId": call("create_multipart_upload")["UploadId"]}
        part = call("upload_part", PartNumber=1, Body=b"3", **upload)
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        try:
            call("complete_multipart_upload", MultipartUpload=parts, IfNoneMatch="*", **upload)
        except FileExistsError:
            with contextlib.suppress(StoreError, FileNotFoundError):
                call("abort_multipart_upload", **upload)
            return True
        return False

    def _call(self, operation: str, function: Callable[..., Any], path: str, *args: Any, **kwargs: Any) -> Any:
        """function(*args). Raises FileNotFoundError, FileExistsError, or StoreError for every other failure."""
        try:
            return self._with_retries(function, *args, **kwargs)
        except (OSError, BotoCoreError, ClientError, ClientPayloadError) as error:
            code = _code(error)
            if code in MISSING:
                raise FileNotFoundError(path) from None
            if code in EXISTS:
                raise FileExistsError(path) from None
            raise StoreError(
                f"{operation} of {self.root}/{path} failed: {code or type(error).__name__}: {error}"
            ) from None

    def _with_retries(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """function(*args), repeated after transient failures."""
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_transient),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            reraise=True,
        ):
            with attempt:
                self.retries += attempt.retry_state.attempt_number > 1
                return function(*args, **kwargs)
        raise AssertionError("unreachable")

    def _count_retry(self, attempts: int, **_: Any) -> None:
        """botocore hook, called after every attempt (counted from 1). Returning None leaves the decision to it."""
        self.retries += attempts > 1

    def _key(self, path: str) -> str:
        return f"{self._prefix}/{inside(path)}".strip("/")

    def _at(self, path: str) -> str:
        return f"{self._bucket}/{self._key(path)}"


def _code(error: BaseException) -> str:
    """The S3 error code, or "" if there was no reply. s3fs keeps botocore's error as the cause of its own."""
    cause = error if isinstance(error, ClientError) else error.__cause__
    return str(cause.response["Error"].get("Code", "")) if isinstance(cause, ClientError) else ""


def _is_transient(error: BaseException) -> bool:
    return _code(error) in TRANSIENT or isinstance(error, ClientPayloadError)
