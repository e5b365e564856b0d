"""S3 servers of other people's, started on loopback for as long as a context lasts."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

# Their own environment, since one of them wants another botocore than s3fs; `make .venv-s3/.ready` fills it.
BIN = Path(__file__).parents[2] / ".venv-s3" / "bin"
SERVERS = ("moto", "ministack")
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@contextlib.contextmanager
def s3_server(name: str, log: Path) -> Iterator[str]:
    """The address of a running server; it knows no bucket yet."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    if name == "moto":
        command, environment = [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)], {}
    else:
        # One service, and not on all interfaces as it would be by default.
        command = [str(BIN / "ministack")]
        environment = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "SERVICES": "s3"}
    with serving(command, environment, url, log):
        yield url


def make_bucket(url: str, bucket: str) -> None:
    urlopen(Request(f"{url}/{bucket}", method="PUT")).close()


@contextlib.contextmanager
def serving(command: list[str], environment: dict[str, str], url: str, log: Path) -> Iterator[None]:
    """A server, from when it answers at `url` until the context ends."""
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | environment)
    try:
        for _ in range(600):
            try:
                urlopen(url).close()
                break
            except HTTPError as error:
                if error.code != HTTPStatus.SERVICE_UNAVAILABLE:  # which says that it is not ready yet
                    break  # it answers
            except (URLError, ConnectionError):
                pass
            assert process.poll() is None, f"{command} ended: {log.read_text()[-500:]}"
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
