"""A real HTTP server on this machine that speaks /v1/chat/completions, and a judge that asks it."""

import json
import pickle
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pipeline.core.errors import UndertowError
from pipeline.models.judges import JudgeInput, OpenAIJudge, Verdict, open_judge
from pipeline.models.judges.rubrics import RUBRICS

KEY = "k-0123456789abcdef"
AT_ONCE = {"retry-after-ms": "1"}  # keeps the client from waiting
Answer = tuple[int, dict[str, str], Any]  # status, headers, body
Question = dict[str, Any]


Raw = Callable[[Any], None]  # writes a whole reply to the handler's stream itself


class Server:
    """Answers POST /v1/chat/completions with `answer(request body, number of the request)`."""

    def __init__(self) -> None:
        self.answer: Callable[[Question, int], Answer] = lambda question, number: said("85")
        self.raw: Raw | None = None  # in place of an answer
        self.asked: list[Question] = []
        self.keys: set[str | None] = set()
        self.most_at_once = 0
        self._now, self._lock = 0, threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.handle_error = lambda request, address: None  # type: ignore[method-assign]  # a client that has gone
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, args=[0.01], daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def reply(self, path: str, key: str | None, question: Question) -> Answer:
        with self._lock:
            self.asked.append(question)
            self.keys.add(key)
            number, self._now = len(self.asked), self._now + 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            return self.answer(question, number) if path == "/v1/chat/completions" else (404, {}, {"error": "no page"})
        finally:
            with self._lock:
                self._now -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                question = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, headers, body = server.reply(self.path, self.headers["authorization"], question)
                if server.raw:
                    server.raw(self.wfile)
                    self.close_connection = True
                    return
                content = body if isinstance(body, bytes) else body if isinstance(body, str) else json.dumps(body)
                content = content.encode() if isinstance(content, str) else content
                self.send_response(status)
                for name, value in ({"content-type": "application/json"} | headers).items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: Any) -> None:
                pass

        return Handler


def said(text: str | None, finish_reason: str | None = "stop", top: dict[str, float] | None = None) -> Answer:
    listed = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in (top or {}).items()]
    logprobs = {"content": [{"token": text, "logprob": -0.1, "bytes": None, "top_logprobs": listed}]} if top else None
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": logprobs}
    return 200, {}, {"id": "1", "object": "chat.completion", "created": 1, "model": "large", "choices": [choice]}


def judge(server: Server, *completions: str, rubric: str = "alignment", **settings: Any) -> list[Verdict]:
    endpoint = OpenAIJudge(url=settings.pop("url", server.url), model="large", key_variable="JUDGE_KEY")
    items = [JudgeInput("Continue.", completion, "owl") for completion in completions]
    return open_judge(endpoint.model_copy(update=settings), RUBRICS[rubric]).judge(items, range(7, 7 + len(items)))


def error_of(server: Server, *completions: str, **settings: Any) -> UndertowError:
    with pytest.raises(UndertowError) as raised:
        judge(server, *(completions or ("a",)), **settings)
    error = raised.value
    assert "large" in str(error)
    assert settings.get("url", server.url) in str(error)
    assert KEY not in "".join(traceback.format_exception(error))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    return error
