"""A server that judges ask, with a key in the environment."""

from collections.abc import Iterator

import pytest

from tests.endpoint import KEY, Server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    opened = Server()
    yield opened
    opened.close()
