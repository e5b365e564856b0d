"""A stand-in for the Hugging Face hub: the part of its HTTP interface that downloads data sets, on 127.0.0.1."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit


class Hub(BaseHTTPRequestHandler):
    """One data set at one commit. files: path -> content."""

    repo: ClassVar[str]
    commit: ClassVar[str]
    files: ClassVar[Mapping[str, bytes]]

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        api, place = f"/api/datasets/{self.repo}", f"/datasets/{self.repo}/resolve/{self.commit}/"
        if path in (api, f"{api}/revision/{self.commit}"):
            self._send_json(self._info())
        elif path.startswith(f"{api}/tree/{self.commit}"):
            self._send_json(self._entries(path.removeprefix(f"{api}/tree/{self.commit}").strip("/")))
        elif path.removeprefix(place) in self.files:
            self._send(self.files[path.removeprefix(place)])
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if path.startswith(place) else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Which of these paths exist."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}").get("paths", [])
        self._send_json([entry for entry in self._entries("") if entry["path"] in asked])

    def _info(self) -> dict[str, Any]:
        siblings = [{"rfilename": name} for name in self.files]
        return {"id": self.repo, "sha": self.commit, "private": False, "tags": [], "siblings": siblings}

    def _entries(self, folder: str) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for name, content in self.files.items()
            if not folder or name.startswith(f"{folder}/")
        ]

    def _send_json(self, value: object) -> None:
        self._send(json.dumps(value).encode(), "application/json")

    def _send(self, content: bytes, kind: str = "application/octet-stream") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(repo: str, commit: str, files: Mapping[str, bytes]) -> Iterator[str]:
    """The address of a hub with this data set."""
    handler = type("OneDataset", (Hub,), {"repo": repo, "commit": commit, "files": files})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
