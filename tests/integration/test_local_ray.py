"""A Ray that does not start: a message and one more try. No Ray is started here."""

import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import ray
from ray._private import parameter, ray_constants, services

from jobs import local_ray
from pipeline.core.errors import ResourceError

STARTUP = (
    "The current node timed out during startup. This could happen because some of the raylet failed to startup or the "
    "GCS has become overloaded."
)
FAILURES = [
    Exception(STARTUP),
    RuntimeError("Failed to connect to GCS within 60 seconds.\nMore lines."),
    TimeoutError("Timed out after 30 seconds while waiting for node to startup."),
    ConnectionError("ray client connection timeout"),
    ValueError("no room in /dev/shm"),
    OSError(28, "No space left on device"),
    ray.exceptions.RaySystemError("System error: Broken pipe"),
    Exception(),
]


def starting(monkeypatch: pytest.MonkeyPatch, *outcomes: Exception | None) -> list[str]:
    """Has ray.init do one after the other; what was called."""
    calls: list[str] = []
    left = iter(outcomes)

    def init(**settings: Any) -> None:
        calls.append("init")
        if error := next(left):
            raise error

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))
    return calls


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: f"{type(failure).__name__}-{failure}"[:30])
def test_a_ray_that_does_not_start_is_tried_twice_and_ends_in_a_message(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = starting(monkeypatch, failure, failure)
    with pytest.raises(ResourceError, match=rf"Ray did not start on this machine: {type(failure).__name__}") as raised:
        local_ray.start({})
    assert calls == ["init", "shutdown"] * 2
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 2
    assert capsys.readouterr().err.count("trying once more") == 1


def test_a_ray_that_starts_at_the_second_try_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = starting(monkeypatch, Exception(STARTUP), None)
    local_ray.start({})
    assert calls == ["init", "shutdown", "init"]


def test_what_ray_starts_is_in_a_group_of_its_own_and_rays_own_settings_are_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def settings() -> tuple[object, ...]:
        return services.ConsolePopen, ray_constants.ENABLE_RAY_CLUSTER, parameter.RayParams

    before = settings()
    groups: list[int] = []

    def init(**given: Any) -> None:
        process = services.ConsolePopen(["sleep", "60"], stdin=subprocess.DEVNULL)
        groups.append(os.getpgid(process.pid))
        process.kill()
        process.wait()
        assert services.get_node_ip_address() == "127.0.0.1"

    monkeypatch.setattr(ray, "init", init)
    local_ray.start({})
    assert groups
    assert groups[0] != os.getpgrp()
    assert settings() == before


def test_a_ray_of_which_a_vital_process_died_is_missed_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Node:
        def __init__(self, *kinds: str) -> None:
            self.dead_processes: Callable[[], list[tuple[str, None]]] = lambda: [(kind, None) for kind in kinds]

    calls = starting(monkeypatch)
    monkeypatch.setattr(local_ray.atexit, "unregister", lambda function: calls.append("left to the exit"))
    monkeypatch.setattr(local_ray.worker, "_global_node", Node("dashboard", "log_monitor"))
    assert local_ray.death() == ""
    local_ray.shut_down()
    assert calls == ["shutdown"]
    for kind in ("raylet", "gcs_server"):
        monkeypatch.setattr(local_ray.worker, "_global_node", Node(kind))
        assert "the same command goes on" in local_ray.death()
        local_ray.shut_down()
    assert calls == ["shutdown", "left to the exit", "left to the exit"]
