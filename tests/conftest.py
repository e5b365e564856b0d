"""What tests share: a small fake study, a store, and that study run through in this process."""

import asyncio
import gc
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.models.engines.fake import FakeEngine
from pipeline.models.trainers.fake import FakeTrainer
from pipeline.plan.planner import plan
from pipeline.stages import run_unit, stage_of
from pipeline.stages.contract import OnEngine, OnTrainer, Runtime
from pipeline.stages.shared.training import UNIT
from pipeline.store import Store, artifact, open_store
from pipeline.store.artifact import Manifest
from pipeline.store.local_cache import local_folder
from pipeline.store.step import Step
from pipeline.study.schema import Study

SETTINGS = {
    "study": "fake",
    "families": {"llama": {"kind": "nano", "init_seed": 1}, "qwen": {"kind": "nano", "init_seed": 2}},
    "traits": [{"targets": ["owl", "cat"]}],
    "completions": {"rows": 60, "shard_rows": 25},
    "corpus": {"rows": 40},
    "students": {"seeds": [1, 2]},
    "suites": [{"kind": "favourite", "samples": 2}],
    "engine": "fake",
    "trainer": "fake",
}


gc.disable()  # until all tests are collected: their modules and items stay anyway


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def study() -> Callable[..., Study]:
    """Builds a study that needs no model: study(corpus={"rows": 5}) changes one section of it."""
    return lambda **changes: Study.model_validate(SETTINGS | changes)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test finds what another run, or another branch, has left in this machine's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERTOW_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return open_store(tmp_path / "root")


@pytest.fixture(scope="session")
def make() -> Callable[[Study, Store, Step], Manifest]:
    """Makes one step of a fake study whose inputs are made, as jobs.steps does with Ray."""
    return _make


@pytest.fixture(scope="session")
def fake_run(
    tmp_path_factory: pytest.TempPathFactory, study: Callable[..., Study]
) -> Iterator[tuple[Study, list[Step], Store]]:
    """The whole study, made. Shared: a test that writes takes `fake_copy`; at the end nothing may have changed."""
    its, place = study(), open_store(tmp_path_factory.mktemp("fake") / "root")
    steps = plan(its)
    for step in steps:
        _make(its, place, step)
    made = _files(place)
    yield its, steps, place
    assert _files(place) == made, "a test wrote into the shared study: let it take fake_copy"


@pytest.fixture
def fake_copy(fake_run: tuple[Study, list[Step], Store], tmp_path: Path) -> tuple[Study, list[Step], Store]:
    """The whole study in a root of the test's own."""
    its, steps, place = fake_run
    shutil.copytree(place.folder, tmp_path / "copy")
    return its, steps, open_store(tmp_path / "copy")


def _files(store: Store) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in store.folder.rglob("*") if path.is_file()}


def _make(study: Study, store: Store, step: Step) -> Manifest:
    stage = stage_of(step.kind)
    records = asyncio.run(stage.run(step, InProcess(store, step)))
    return artifact.commit(store, step, records, stage.summarise(step, records))


class InProcess:
    """Does units in this process, with the fake engine and trainer."""

    needed_rows: Mapping[int, Step] = {}

    def __init__(self, store: Store, step: Step) -> None:
        self.store = store
        self._step = step
        self._runtime = Runtime()

    async def run(self, unit: str) -> dict[str, Any]:
        rows = stage_of(self._step.kind).planned_rows(self._step, unit)
        if done := artifact.planned_unit(self.store, self._step, unit, rows):
            return done
        placement = stage_of(self._step.kind).placement(self._step, unit)
        worker = FakeTrainer() if isinstance(placement, OnTrainer) else None
        engine = _engine(self.store, placement.weights) if isinstance(placement, OnEngine) else None
        record = run_unit(self.store, engine or worker, self._step, unit, self._runtime)
        assert record is not None
        return record

    async def discard(self, unit: str) -> None:
        raise AssertionError("nothing is discarded here")

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        raise AssertionError("there are no corpora to count for")

    def report(self, text: str) -> None:
        print(text)


def _engine(store: Store, weights: str) -> FakeEngine:
    files, _ = artifact.files_of(store, weights, UNIT)
    return FakeEngine(local_folder(store, weights, files, "model"))
