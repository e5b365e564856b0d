"""A root on object storage, through s3fs, with the ordinary AWS environment, profile and endpoint settings.

Who retries what: botocore ("standard" mode: exponential backoff with jitter) repeats requests that were
lost, throttled or met a 5xx; `_with_retries` repeats what botocore does not know to be passing: a conditional
write that met another in flight (409), and a reply whose body broke off. All else fails at once.
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

ATTEMPTS = 8  # with botocore's backoff (≤ 1, 2, 4 … 20 s) a store may be away for about a minute
PARTS_AT_ONCE = 4  # of a multipart upload or download; one part is 50 MiB and held in memory
TRANSIENT = {"ConditionalRequestConflict", "OperationAborted", "409"}
MISSING = {"NoSuchKey", "404"}
LONGEST_KEY = 1024  # bytes, by S3's rules
EXISTS = {"PreconditionFailed", "412", "NoSuchUpload"}  # the last: an upload whose completion was not heard of


class S3Store:
    """Store over one prefix of one bucket. Made inside the process that uses it: its client does not fork."""

    folder = None

    def __init__(self, root: str) -> None:
        self._bucket, _, self._prefix = root.removeprefix("s3://").rstrip("/").partition("/")
        self.root = root.rstrip("/")
        self.retries = 0
        if not self._bucket:
            raise InputError(f"the root {root} names no bucket; it is to be s3://bucket/prefix")
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
        fs.retries = 1  # its own retries have no jitter, and would multiply botocore's
        return fs

    def require_writable(self) -> None:
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            try:
                honoured = self.create(probe, b"1") and not self.create(probe, b"2") and self._refuses_parts(probe)
            finally:
                with contextlib.suppress(StoreError):  # a store may well forbid removal
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
            # The reply to our own first attempt may have been lost: look before believing in another writer.
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
        return sorted(islice(names, limit))  # which asks for no page that it does not need

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
                if abs(about["LastModified"] - modified) >= timedelta(seconds=1):  # HTTP's dates have no fractions
                    return False
            self._call("delete_object", self._fs.call_s3, path, "delete_object", **place)
        except FileNotFoundError:
            return False
        return True

    def _pages(self, path: str, **more: str) -> Iterator[dict[str, Any]]:
        """Pages of a listing below a folder, one held at a time."""
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
            self._call("put_object", self._fs.put_file, path, str(content), self._at(path), **settings)

    def _holds(self, path: str, content: bytes | Path) -> bool:
        if isinstance(content, bytes):
            return self.read(path) == content
        with tempfile.NamedTemporaryFile(prefix="undertow-") as stored:
            self.download(path, Path(stored.name))
            return filecmp.cmp(content, stored.name, shallow=False)

    def _refuses_parts(self, path: str) -> bool:
        """Whether a multipart upload, too, creates an object only where there is none."""
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
        """function(*args), with every failure said in one of three ways.

        Raises FileNotFoundError and FileExistsError for what their names say, StoreError for all else.
        """
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
        """function(*args), again after what is known to pass."""
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_passing),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            reraise=True,
        ):
            with attempt:
                self.retries += attempt.retry_state.attempt_number > 1
                return function(*args, **kwargs)
        raise AssertionError("unreachable")

    def _count_retry(self, attempts: int, **_: Any) -> None:
        """botocore asks after every attempt, counted from 1, whether it needs another; this gives no answer."""
        self.retries += attempts > 1

    def _key(self, path: str) -> str:
        return f"{self._prefix}/{inside(path)}".strip("/")

    def _at(self, path: str) -> str:
        return f"{self._bucket}/{self._key(path)}"


def _code(error: BaseException) -> str:
    """What S3 calls the error; "" where no reply came. s3fs keeps botocore's error as the cause of its own."""
    cause = error if isinstance(error, ClientError) else error.__cause__
    return str(cause.response["Error"].get("Code", "")) if isinstance(cause, ClientError) else ""


def _is_passing(error: BaseException) -> bool:
    return _code(error) in TRANSIENT or isinstance(error, ClientPayloadError)
