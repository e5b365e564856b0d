"""Unit tests do without the heavy stack: an import of it inside of one fails, even where it is installed."""

import shutil
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from pathlib import Path

import pytest

from pipeline.plan.planner import plan
from pipeline.store import Store, open_store
from pipeline.store.artifact import Manifest
from pipeline.store.root import mark
from pipeline.store.step import Step
from pipeline.study.schema import Study

HEAVY = {"ray", "torch", "vllm", "deepspeed", "transformers", "peft", "datasets", "tokenizers"}


class _Refuse(MetaPathFinder):
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"a unit test needs {name}: it belongs into tests/integration", name=name)


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [_Refuse(), *sys.meta_path])


@pytest.fixture
def root(store: Store, study: Callable[..., Study], make: Callable[[Study, Store, Step], Manifest]) -> Store:
    """The first three artifacts of a study: a base and what its teachers are."""
    smoke_edition = study()
    for step in plan(smoke_edition):
        if step.kind in ("base", "teacher"):
            make(smoke_edition, store, step)
    return store


def copy_study(run: tuple[Study, list[Step], Store], folder: Path) -> Path:
    """A marked root with the artifacts of the study."""
    _, _, store = run
    shutil.copytree(store.folder, folder)
    mark(open_store(folder))
    return folder


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def undertow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Runs the command in an empty folder of its own."""
    from jobs.cli import console, main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "width", 200)

    def run(*arguments: str | Path) -> Said:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Said(int(ended.value.code or 0), captured.out, captured.err)

    return run
