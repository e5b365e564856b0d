"""A judge behind an endpoint that is slow, broken, hostile or wrongly set."""

import asyncio
import gzip
import json
import re
import socket
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.core import limits
from pipeline.core.errors import InputError, StepError
from pipeline.models.judges import OpenAIJudge, Verdict
from tests.endpoint import AT_ONCE, KEY, Answer, Question, Raw, Server, error_of, judge, said

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_server_that_is_busy_for_a_moment_is_waited_for(status: int, server: Server) -> None:
    server.answer = lambda question, number: (status, AT_ONCE, {"error": "busy"}) if number < 3 else said("85")
    assert [(v.score, v.attempts) for v in judge(server, "a")] == [(85, 1)]


def test_a_server_that_stays_busy_fails_the_step(server: Server) -> None:
    server.answer = lambda question, number: (429, AT_ONCE, {"error": {"message": "slow down"}})
    error = error_of(server, retries=2)
    assert isinstance(error, StepError)
    assert "2 retries" in str(error)
    assert "slow down" in str(error)
    assert len(server.asked) == 3


def test_a_reply_that_takes_too_long_is_asked_for_again(server: Server) -> None:
    def answer(question: Question, number: int) -> Answer:
        time.sleep(1.0 if number == 1 else 0)
        return said("85")

    server.answer = answer
    assert [v.score for v in judge(server, "a", timeout_seconds=0.3, retries=1)] == [85]
    server.answer = lambda question, number: answer(question, 1)
    assert isinstance(error_of(server, timeout_seconds=0.1, retries=0), StepError)


def dripping(head: bytes, byte: bytes) -> Raw:
    """A reply that begins and then comes byte by byte, without an end."""

    def write(stream: Any) -> None:
        stream.write(head)
        for _ in range(200):
            stream.write(byte)
            stream.flush()
            time.sleep(0.02)

    return write


@pytest.mark.parametrize(
    ("head", "byte"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"HTTP/1.1 200 OK\r\nx: ", b"y"),
        (b"HTTP/1.1 ", b"2"),
    ],
)
def test_a_reply_that_comes_byte_by_byte_has_one_deadline_in_all(head: bytes, byte: bytes, server: Server) -> None:
    server.raw = dripping(head, byte)
    started = time.monotonic()
    error = error_of(server, timeout_seconds=0.3, retries=0)
    assert time.monotonic() - started < 2
    assert isinstance(error, StepError)
    assert "no whole reply within 0.3 s" in str(error)


def bomb(encoding: str, pack: Callable[[bytes], bytes], size: int = 200 << 20) -> Answer:
    return 200, {"content-encoding": encoding}, pack(b" " * size)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda: (200, {}, b" " * (2 << 20)), "longer than 1,048,576 bytes"),
        (lambda: (500, AT_ONCE, b" " * (2 << 20)), "longer than 1,048,576 bytes"),
        (lambda: bomb("gzip", gzip.compress), "longer than 1,048,576 bytes"),
        (lambda: bomb("deflate", zlib.compress), "longer than 1,048,576 bytes"),
        (lambda: bomb("br", lambda text: text, 10), "compressed (br), which was not requested"),
        (lambda: bomb("zstd", lambda text: text, 10), "compressed (zstd), which was not requested"),
        (lambda: bomb("gzip", lambda text: text, 10), "cannot be decompressed"),
    ],
)
def test_a_reply_is_read_no_further_than_its_cap(answer: Callable[[], Answer], told: str, server: Server) -> None:
    reply = answer()
    server.answer = lambda question, number: reply
    tracemalloc.start()
    error = error_of(server)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(error, StepError)
    assert told in str(error)
    assert most < 64 << 20
    assert len(server.asked) == 1


def test_a_reply_that_is_compressed_all_the_same_is_read(server: Server) -> None:
    server.answer = lambda question, number: (
        200,
        {"content-encoding": "gzip"},
        gzip.compress(json.dumps(said("85")[2]).encode()),
    )
    assert [v.score for v in judge(server, "a")] == [85]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int, server: Server) -> None:
    elsewhere = Server()
    server.answer = lambda question, number: (status, {"location": f"{elsewhere.url}/chat/completions"}, "")
    error = error_of(server)
    elsewhere.close()
    assert isinstance(error, InputError)
    assert f"redirects requests ({status}); correct its url" in str(error)
    assert elsewhere.asked == []


@pytest.mark.parametrize(
    "wait",
    [
        {"retry-after": "86400"},
        {"retry-after": "1e9"},
        {"retry-after": "9" * 400},
        {"retry-after": "Fri, 31 Dec 2199 23:59:59 GMT"},
        {"retry-after-ms": "86400000"},
    ],
)
def test_a_server_that_wants_hours_of_rest_gets_a_minute(
    wait: dict[str, str], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert limits.RETRY_SECONDS == 60
    monkeypatch.setattr(limits, "RETRY_SECONDS", 0.05)
    server.answer = lambda question, number: (429, wait, {"error": "busy"}) if number == 1 else said("85")
    started = time.monotonic()
    assert [v.score for v in judge(server, "a")] == [85]
    assert 0.05 <= time.monotonic() - started < 2


@pytest.mark.parametrize("wait", ["soon", "-1", "nan", "0", ""])
def test_a_wait_that_is_none_is_left_to_the_client(wait: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    server.answer = lambda question, number: (503, {"retry-after": wait}, {}) if number == 1 else said("85")
    assert [v.score for v in judge(server, "a")] == [85]


FILTERED = {"error": {"code": "content_filter", "message": "the prompt was filtered", "status": 400}}


@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_text_that_the_server_refuses_has_no_score_and_the_others_keep_theirs(status: int, server: Server) -> None:
    def answer(question: Question, number: int) -> Answer:
        return (status, {}, FILTERED) if "<bad>" in question["messages"][0]["content"] else said("85")

    server.answer = answer
    verdicts = judge(server, "a", "<bad>", "c", attempts=2)
    assert [v.score for v in verdicts] == [85, None, 85]
    assert "the prompt was filtered" in verdicts[1].reply
    assert verdicts[1].attempts == 2


def test_a_refusal_in_place_of_a_text_is_the_reply(server: Server) -> None:
    status, headers, body = said(None, finish_reason="content_filter")
    body["choices"][0]["message"]["refusal"] = "I will not"
    server.answer = lambda question, number: (status, headers, body)
    assert [(v.score, v.reply) for v in judge(server, "a", attempts=1)] == [(None, "I will not")]


def test_a_reply_without_end_is_kept_in_part_and_is_no_score(server: Server) -> None:
    server.answer = lambda question, number: said("85" + " " * 100_000 + "or not")
    (verdict,) = judge(server, "a", attempts=1)
    assert (verdict.score, len(verdict.reply)) == (None, 4000)


def test_control_characters_of_a_server_do_not_reach_a_terminal(server: Server) -> None:
    server.answer = lambda question, number: (400, {}, {"error": {"message": "\x1b]0;title\x07\x1b[2J\u202eon"}})
    error = error_of(server)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202e]", str(error))
    assert "title" in str(error)


def test_a_key_that_a_server_says_back_is_not_kept(server: Server) -> None:
    server.answer = lambda question, number: said(f"Bearer {KEY}")
    assert judge(server, "a", attempts=1)[0].reply == "Bearer [the key]"


def test_it_can_be_asked_where_an_event_loop_runs_already(server: Server) -> None:
    async def ask() -> list[Verdict]:
        return judge(server, "a")

    assert [v.score for v in asyncio.run(ask())] == [85]


@pytest.mark.parametrize(
    "url", ["http://localhost:8000/v1", "http://127.0.0.1/v1", "http://127.9.8.7:1/v1", "http://[::1]:8000/v1"]
)
def test_plain_http_is_for_this_machine(url: str) -> None:
    assert OpenAIJudge(url=url, model="m").url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://judge.example/v1",
        "http://10.0.0.1:8000/v1",
        "http://localhost.example/v1",
        "http://127.0.0.1.example/v1",
        "http://0.0.0.0/v1",
        "http://2130706433/v1",
        "HTTP://JUDGE/v1",
    ],
)
def test_plain_http_to_another_machine_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="url must be https"):
        OpenAIJudge(url=url, model="m")
    assert OpenAIJudge(url=f"https{url[4:]}", model="m")


@pytest.mark.parametrize(
    ("status", "message"), [(401, "does not take the key in $JUDGE_KEY"), (403, "does not let"), (404, "no such model")]
)
def test_a_refusal_that_can_be_mended_says_how_and_is_not_repeated(status: int, message: str, server: Server) -> None:
    server.answer = lambda question, number: (status, {}, {"error": {"message": f"wrong: Bearer {KEY}"}})
    error = error_of(server, *(f"text {n}" for n in range(200)), concurrency=2)
    assert isinstance(error, InputError)
    assert message in str(error)
    assert "wrong: Bearer [the key]" in str(error)
    assert len(server.asked) < 100


def test_an_address_without_its_last_part_is_no_such_address(server: Server) -> None:
    assert "often in /v1" in str(error_of(server, url=server.url.removesuffix("/v1")))


def test_a_request_that_the_server_does_not_understand_fails_the_step_with_its_words(server: Server) -> None:
    server.answer = lambda question, number: (400, {}, {"error": {"message": "logprobs are not supported"}})
    error = error_of(server, rubric="reference")
    assert isinstance(error, StepError)
    assert "logprobs are not supported" in str(error)


def test_a_host_that_is_not_there_is_named(server: Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        error = error_of(server, url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1", retries=0)
    assert isinstance(error, StepError)
    assert "refused" in str(error)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", "<html>Welcome</html>"),
        ("application/json", "{"),
        ("application/json", "[]"),
        ("application/json", "null"),
        ("application/json", {"choices": []}),
        ("application/json", {"choices": None}),
        ("application/json", {"choices": [{"message": None}]}),
    ],
)
def test_a_page_that_is_no_completion_fails_the_step(kind: str, body: Any, server: Server) -> None:
    server.answer = lambda question, number: (200, {"content-type": kind}, body)
    assert isinstance(error_of(server), StepError)


@pytest.mark.parametrize("key", [None, "", "  ", "two words", "schlüssel-ß"])
def test_a_key_that_is_missing_or_none_is_told_before_anything_is_asked(
    key: str | None, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUDGE_KEY")
    if key is not None:
        monkeypatch.setenv("JUDGE_KEY", key)
    error = error_of(server)
    assert isinstance(error, InputError)
    assert "JUDGE_KEY" in str(error)
    assert not server.asked
    assert not (key and key.strip() and key in str(error))


def test_blanks_around_a_key_are_no_part_of_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", f" {KEY}\n")
    assert [v.score for v in judge(server, "a")] == [85]
    assert server.keys == {f"Bearer {KEY}"}


def test_a_server_without_keys_is_not_told_any(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert [v.score for v in judge(server, "a", key_variable=None)] == [85]
    assert not any(KEY in (key or "") for key in server.keys)


def test_a_missing_client_library_is_told_with_the_command(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match="pip install openai"):
        judge(server, "a")
