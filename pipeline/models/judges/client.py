"""The HTTP client of endpoint judges: a deadline for each whole reply, a limit on its bytes, and no redirects."""

import asyncio
import zlib
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import openai

from pipeline.core import limits

OF_THE_BYTES_SENT = {"content-encoding", "content-length", "transfer-encoding"}
GZIP_OR_ZLIB = 47  # zlib's window bits for both formats, detected by their header


class BoundedClient(openai.DefaultAsyncHttpxClient):
    """A request times out unless its whole reply arrives within `seconds`, connecting included.

    httpx's own timeouts apply to each read separately: a server that sends a byte now and then never exceeds them.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(timeout=seconds, follow_redirects=False, headers={"accept-encoding": "identity"})
        self._seconds = seconds

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """The response, fully read. Raises OpenAIError, which the library does not retry, if it is too long."""
        try:
            async with asyncio.timeout(self._seconds):
                response = await super().send(request, **options | {"stream": True})
                try:
                    content = await _content(response)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx2.TimeoutException):  # the library also has its own timeouts
            raise httpx2.ReadTimeout(f"no whole reply within {self._seconds:g} s", request=request) from None
        return httpx2.Response(response.status_code, headers=_headers(response), content=content, request=request)


async def _content(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > limits.REPLY_BYTES:
            raise _too_long()
    return _inflated(bytes(body), response.headers.get("content-encoding", "identity").lower())


def _inflated(body: bytes, encoding: str) -> bytes:
    """The decompressed body; compression was not requested, but a server may still use it, so its size is bounded."""
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "deflate"):
        raise openai.OpenAIError(f"the reply is compressed ({encoding}), which was not requested")
    try:
        content = zlib.decompressobj(GZIP_OR_ZLIB).decompress(body, limits.REPLY_BYTES + 1)
    except zlib.error as error:
        raise openai.OpenAIError(f"the reply cannot be decompressed: {error}") from None
    if len(content) > limits.REPLY_BYTES:
        raise _too_long()
    return content


def _too_long() -> openai.OpenAIError:
    return openai.OpenAIError(f"the reply is longer than {limits.REPLY_BYTES:,} bytes")


def _headers(response: httpx2.Response) -> dict[str, str]:
    """The headers, with Retry-After capped: the library does not retry at all if it exceeds two minutes."""
    headers = {name: value for name, value in response.headers.items() if name not in OF_THE_BYTES_SENT}
    wait = _retry_after(headers)
    for name in ("retry-after", "retry-after-ms"):
        headers.pop(name, None)
    return headers | ({"retry-after": f"{min(wait, limits.RETRY_SECONDS):f}"} if wait > 0 else {})


def _retry_after(headers: dict[str, str]) -> float:
    """Seconds that the server asks the client to wait; 0 if it does not say."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        with suppress(ValueError, KeyError):
            return float(headers[name]) / unit
    with suppress(ValueError, KeyError, TypeError, OverflowError):
        return (parsedate_to_datetime(headers["retry-after"]) - datetime.now(UTC)).total_seconds()
    return 0.0
