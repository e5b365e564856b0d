"""A reverse proxy before an S3 server that does one bad thing to one chosen request.

    python proxy.py PORT CONTROL_PORT UPSTREAM

Requests go by names that are the same in every run of a study: method, key below the prefix, sub-resource, and how
often it was asked before; or "change N" is the N-th request that is neither GET nor HEAD.
The control port takes POST /begin {"request", "fault"}, POST /release, and GET /state.
"""

import asyncio
import re
import sys
from collections import Counter
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web

FAULTS = {
    "drop": "dropped before it is applied",
    "lose": "applied, its reply dropped",
    "stall": "stalled, the client SIGKILLed, and applied after the restart has ended",
    "kill": "applied, and the client SIGKILLed before the reply",
    "503": "refused with 503 SlowDown",
    "409": "refused with 409 ConditionalRequestConflict",
}
REFUSALS = {"503": (503, "SlowDown"), "409": (409, "ConditionalRequestConflict"), "403": (403, "AccessDenied")}
DEAF = "deaf"  # of all requests: If-None-Match is taken away, as if the server did not know it
SUBRESOURCES = ("list-type", "delimiter", "prefix", "uploads", "partNumber")
HOP = {"transfer-encoding", "connection", "content-length", "content-encoding", "keep-alive"}


class Proxy:
    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._begin(None, None)

    def _begin(self, request: str | None, fault: str | None) -> None:
        self._request = request
        self._fault = fault
        self._asked: Counter[str] = Counter()
        self._names: list[str] = []
        self._changes = 0
        self._reached = False
        self._settled = asyncio.Event()
        self._released = asyncio.Event()

    async def begin(self, request: web.Request) -> web.Response:
        self._begin(**await request.json())
        return web.json_response({})

    async def release(self, request: web.Request) -> web.Response:
        """Let a stalled request through, and answer once the server has."""
        self._released.set()
        await self._settled.wait()
        return web.json_response({})

    async def state(self, request: web.Request) -> web.Response:
        return web.json_response({"reached": self._reached, "requests": self._names})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        name = _name(request)
        self._asked[name] += 1
        name = f"{name} #{self._asked[name]}"
        self._names.append(name)
        self._changes += request.method not in ("GET", "HEAD")
        change = f"change {self._changes}" if request.method not in ("GET", "HEAD") else ""
        if self._request not in (name, change) or self._reached:
            return await self._forward(request, body)
        self._reached = True
        if self._fault in REFUSALS:
            status, code = REFUSALS[self._fault]
            text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>by the proxy</Message></Error>'
            return web.Response(status=status, text=text, content_type="application/xml")
        if self._fault == "stall":
            settled = self._settled
            await self._released.wait()
            await self._forward(request, body)
            settled.set()
        if self._fault in ("lose", "kill"):
            await self._forward(request, body)
        if self._fault == "kill":
            await asyncio.sleep(3600)  # the client never hears of it
        assert request.transport
        request.transport.abort()
        return web.Response()

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        unheard = HOP | {"if-none-match"} if self._fault == DEAF else HOP
        headers = {name: value for name, value in request.headers.items() if name.lower() not in unheard}
        async with self._session.request(
            request.method,
            aiohttp.client.URL(self._upstream + request.raw_path, encoded=True),
            headers=headers,
            data=body or None,
            allow_redirects=False,
            auto_decompress=False,
            skip_auto_headers={"Content-Type"},
        ) as reply:
            content = await reply.read()
            kept = {name: value for name, value in reply.headers.items() if name.lower() not in HOP}
            if request.method == "HEAD" and "Content-Length" in reply.headers:  # that of what a GET would bring
                kept["Content-Length"] = reply.headers["Content-Length"]
                return web.Response(status=reply.status, headers=kept)
            return web.Response(status=reply.status, body=content, headers=kept)

    async def serve(self, port: int, control_port: int) -> None:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        proxy = web.Application(client_max_size=1 << 30)
        proxy.router.add_route("*", "/{any:.*}", self.handle)
        control = web.Application()
        control.add_routes(
            [web.post("/begin", self.begin), web.post("/release", self.release), web.get("/state", self.state)]
        )
        for app, at in ((proxy, port), (control, control_port)):
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", at).start()
        await asyncio.Event().wait()


def _name(request: web.Request) -> str:
    _, _, key = request.path.lstrip("/").partition("/")
    query = dict(parse_qsl(request.query_string, keep_blank_values=True))
    parts = [request.method, _below_prefix(key)]
    query |= {"prefix": _below_prefix(query["prefix"])} if "prefix" in query else {}
    parts += [f"{name}={query[name]}" for name in SUBRESOURCES if name in query]
    return " ".join(parts)


def _below_prefix(key: str) -> str:
    """Without the run's own prefix, and without what is random in it."""
    return re.sub(r"[0-9a-f]{32}", "random", key.partition("/")[2])


if __name__ == "__main__":
    asyncio.run(Proxy(sys.argv[3]).serve(int(sys.argv[1]), int(sys.argv[2])))
