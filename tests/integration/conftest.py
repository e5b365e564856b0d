"""Real parts, small: an untrained nano model as a folder, and studies run by the command itself."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Before anything imports torch or vLLM.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def undertow() -> Command:
    """Runs `undertow …` as a person would; the caller looks at exit code and output."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jobs.cli", *map(str, arguments)]
        environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
        return subprocess.run(
            command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=900, check=False
        )

    return call


@pytest.fixture(scope="session", params=["llama", "qwen2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained nano base of each architecture, as a Hugging Face folder."""
    from pipeline.families.nano import NanoFamily, initialise

    folder = tmp_path_factory.mktemp(request.param)
    initialise(NanoFamily(architecture=request.param, init_seed=5), folder)
    return folder
