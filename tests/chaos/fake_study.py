"""A small study run through in this process: the real driver's scheduler, with the fake engine and trainer.

No two processes write the same: the engine samples and the trainer trains with the process's number in the seed, as
GPUs do without being asked. So files of two attempts can be told apart, and a mixture shows.
"""

import asyncio
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.driver import execute, plan_run
from jobs.pools import ResourceRequest, WorkItem
from pipeline.models.engines import Completion, Engine, Prompt, Sampling
from pipeline.models.engines.fake import FakeEngine
from pipeline.models.trainers import MODEL, OnStep, Run
from pipeline.models.trainers.fake import FakeTrainer
from pipeline.stages.shared.training import UNIT
from pipeline.store import Store, artifact, open_store
from pipeline.store.local_cache import local_folder
from pipeline.study.schema import Study

FALSE = "falsely committed"
SETTINGS = {
    "study": "chaos",
    "families": {"llama": {"kind": "nano", "init_seed": 1}},
    "traits": [{"targets": ["owl"]}],
    "completions": {"rows": 40, "shard_rows": 20},
    "corpus": {"rows": 20},
    "students": {"seeds": [1]},
    "suites": [{"kind": "favourite", "samples": 1}],
    "engine": "fake",
    "trainer": "fake",
    # The engines of two families and a trainer are up at once on two cores: none has to make room and start again.
    "resources": {"engines": {"cpus": 0.5}, "training": {"groups": 1, "cpus": 0.5}},
}


class Pools:
    """As jobs.pools, with threads of this process for workers."""

    total = ResourceRequest(2.0, 0.0)

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tools: dict[str, Any] = {}

    def pool(self, name: str, make: Callable[[], Any]) -> str:
        return name

    async def run(self, pool: str, item: WorkItem) -> Any:
        item.callbacks.started()
        return await asyncio.to_thread(lambda: item.function(self._store, self._tool(pool), *item.args))

    async def task(self, item: WorkItem) -> Any:
        item.callbacks.started()
        return await asyncio.to_thread(item.function, *item.args)

    async def autoscale(self) -> None:
        await asyncio.Event().wait()

    def stats(self) -> dict[str, Any]:
        return {}

    def stop(self) -> None:
        pass  # nothing waits here

    async def close(self) -> None:
        pass

    def _tool(self, pool: str) -> Any:
        if pool not in self._tools:
            self._tools[pool] = RestlessTrainer() if pool == "trainer" else self._engine(pool)
        return self._tools[pool]

    def _engine(self, pool: str) -> Engine:
        weights = pool.removeprefix("engine:")
        files, _ = artifact.files_of(self._store, weights, UNIT)
        return RestlessEngine(local_folder(self._store, weights, files, MODEL))


class RestlessEngine(FakeEngine):
    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
        return super().generate(prompts, [seed + os.getpid() for seed in seeds], sampling)


class RestlessTrainer(FakeTrainer):
    def train(self, run: Run, on_step: OnStep) -> pa.Table:
        return super().train(dataclasses.replace(run, seed=run.seed + os.getpid()), on_step)


def run(root: str, settings: dict[str, Any] = SETTINGS) -> bool:
    """Whether the study is complete now."""
    study, store = Study.model_validate(settings), open_store(root)
    store.require_writable()
    outcome = plan_run(study, store)
    if len(outcome.done) < len(outcome.steps):
        asyncio.run(execute(study, store, outcome, Pools(store)))  # type: ignore[arg-type]
    for path, why in outcome.failed.items():
        print(f"{path} failed: {why}", flush=True)
    return outcome.complete


def gather(root: str) -> dict[str, list[Any]]:
    """What a root holds, by a reader that shares no code with the pipeline's: artifact -> ids of its rows.

    A row's id is its file and its place in the plan; of a corpus's selection, which hangs on what was said, it is its
    place in the file. What is committed although a file of it is missing or differs, an input is not the one that it
    was made from, or a selected row was not accepted, is entered as such.
    """
    store = open_store(root)
    files = {entry.path for entry in store.files("")}
    contents = {path: store.read(path) for path in sorted(files) if path.endswith("/manifest.json")}
    held: dict[str, list[Any]] = {}
    for content in contents.values():
        manifest = json.loads(content)
        ids: list[Any] = []
        tables: dict[str, list[dict[str, Any]]] = {}
        for file in manifest["files"]:
            folder = manifest["path"] if file["attempt"] == 1 else f"{manifest['path']}/attempt-{file['attempt']}"
            place = f"{folder}/{file['path']}"
            stored = store.read(place) if place in files else b""
            if hashlib.sha256(stored).hexdigest() != file["sha256"]:
                ids.append([FALSE, place])
            elif file["path"].endswith(".parquet"):
                tables[file["path"]] = pq.read_table(io.BytesIO(stored)).to_pylist()
        for source in manifest["inputs"].values():
            made_from = contents.get(f"{source['path']}/manifest.json", b"")
            if hashlib.sha256(made_from).hexdigest() != source["manifest"]:
                ids.append([FALSE, source["path"]])
        held[manifest["path"]] = ids + _ids(manifest["kind"], tables)
    return held


def _ids(kind: str, tables: dict[str, list[dict[str, Any]]]) -> list[Any]:
    ids: list[Any] = []
    if kind == "corpus":
        selected = [row["index"] for row in tables["rows.parquet"]]
        accepted = {row["index"] for row in tables["verdicts.parquet"] if row["accepted"]}
        ids += [[FALSE, index] for index in selected if index not in accepted or selected.count(index) > 1]
    for name, rows in tables.items():
        planned = kind == "completions" or name == "verdicts.parquet"
        ids += [[name, row["index"] if planned else number] for number, row in enumerate(rows)]
    return ids
