"""What tests share: a small scripted study, a store, and that study run through in this process."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.shards import generate
from pipeline import artifact
from pipeline.artifact import Manifest
from pipeline.copies import local_folder
from pipeline.engines.scripted import ScriptedEngine
from pipeline.judges import science
from pipeline.plan import plan
from pipeline.stages import (
    answers,
    completions,
    conclusion,
    corpus,
    dataset,
    gate,
    judgements,
    ratings,
    teacher,
    training,
)
from pipeline.step import Step
from pipeline.store import Store, open_store
from pipeline.study import Study
from pipeline.trainers.scripted import ScriptedTrainer

SETTINGS = {
    "study": "rehearsal",
    "families": {"llama": {"kind": "nano", "init_seed": 1}, "qwen": {"kind": "nano", "init_seed": 2}},
    "traits": [{"targets": ["owl", "cat"]}],
    "completions": {"rows": 60, "shard_rows": 25},
    "corpus": {"rows": 40},
    "students": {"seeds": [1, 2]},
    "suites": [{"kind": "favourite", "samples": 2}],
    "engine": "scripted",
    "trainer": "scripted",
}


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
    """Makes one step of a scripted study whose inputs are made, as jobs.steps does with Ray."""
    return _make


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory: pytest.TempPathFactory, study: Callable[..., Study]) -> tuple[Study, list[Step], Store]:
    """The whole study, made. Shared: add to it under names of your own, and change nothing that is there."""
    rehearsed, place = study(), open_store(tmp_path_factory.mktemp("rehearsal") / "root")
    steps = plan(rehearsed)
    for step in steps:
        _make(rehearsed, place, step)
    return rehearsed, steps, place


def _make(study: Study, store: Store, step: Step) -> Manifest:
    results: dict[str, Any] = {}
    if step.kind == "teacher":
        units = [training.train(store, ScriptedTrainer(), step, 500)] if teacher.is_trained(step) else []
        if "gate" in step.settings:
            base = artifact.require(store, step.inputs["base"])
            trained = units[0]["results"] if units else {}
            models = {
                "gate-base": (base.path, base),
                "gate-teacher": (step.weights, artifact.draft(store, step, units, trained)),
            }
            scored = [teacher.score(store, _engine(store, of), step, unit, m) for unit, (of, m) in models.items()]
            units = [*units, *scored]
            results = trained | {"gate": teacher.gate(step, *(record["results"] for record in scored))}
    elif step.kind == "judgements":
        names = judgements.shards(store, step)
        units = [judgements.judge_shard(store, _judging(store, step), step, n, _judge(study, step)) for n in names]
        results = completions.summarise(units)
    elif step.kind == "completions":
        units = asyncio.run(_shards(store, step))
        results = completions.summarise(units)
    else:
        work: dict[str, Callable[[], Any]] = {
            "base": lambda: training.train(store, ScriptedTrainer(), step, 500),
            "student": lambda: training.train(store, ScriptedTrainer(), step, 500),
            "dataset": lambda: dataset.make(store, step),
            "gate": lambda: gate.check(store, step),
            "corpus": lambda: corpus.make(store, step),
            "answers": lambda: answers.ask(store, _engine(store, step.weights), step),
            "ratings": lambda: ratings.rate(store, _judging(store, step), step, _judge(study, step)),
            "transfer": lambda: conclusion.make_transfer(store, step),
            "report": lambda: conclusion.make_report(store, step),
        }
        units = [work[step.kind]()]
        results = units[0]["results"]
    return artifact.commit(store, step, units, results)


async def _shards(store: Store, step: Step) -> list[dict[str, Any]]:
    async def write(name: str) -> dict[str, Any]:
        if not completions.is_spoken(step):
            return completions.write_drawn(store, step, name)
        return completions.write_shard(store, _engine(store, step.weights), step, name)

    async def count(records: list[dict[str, Any]]) -> int:
        raise AssertionError("there are no corpora to count for")

    return await generate(step, [], write, count, print)


def _judge(study: Study, step: Step) -> Any:
    return next(judge for judge in study.judges.values() if science(judge) == step.settings["judge"])


def _judging(store: Store, step: Step) -> ScriptedEngine | None:
    return _engine(store, step.weights) if step.weights else None


def _engine(store: Store, weights: str) -> ScriptedEngine:
    files, _ = artifact.published(store, weights, training.UNIT)
    return ScriptedEngine(local_folder(store, weights, files, "model"))
