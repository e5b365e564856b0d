"""Where a key or a token can be sent without anybody on the way reading it."""

import pytest

from pipeline.models.judges.address import is_private


@pytest.mark.parametrize(
    "url",
    [
        "https://head:8265",
        "http://127.0.0.1:8265",
        "127.0.0.1:8265",
        "localhost:8265",
        "http://LOCALHOST",
        "http://[::1]:1",
    ],
)
def test_https_and_this_machine_are_private(url: str) -> None:
    assert is_private(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://head:8265",
        "head:8265",
        "http://10.0.0.7:8265",
        "http://127.0.0.1.example",
        "http://0.0.0.0",
        "ray://head",
        "",
    ],
)
def test_another_machine_without_tls_is_not(url: str) -> None:
    assert not is_private(url)


def test_what_is_no_address_is_an_error() -> None:
    with pytest.raises(ValueError, match="IPv6"):
        is_private("http://[::1")
