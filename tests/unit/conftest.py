"""Unit tests do without the heavy stack: an import of it inside of one fails, even where it is installed."""

import sys
from importlib.abc import MetaPathFinder

import pytest

HEAVY = {"ray", "torch", "vllm", "deepspeed", "transformers", "peft", "datasets", "tokenizers"}


class _Refuse(MetaPathFinder):
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"a unit test needs {name}: it belongs into tests/integration", name=name)


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [_Refuse(), *sys.meta_path])
