"""A small study run through in this process: the real driver's walk, with the scripted engine and trainer."""

import asyncio
import hashlib
import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq

from jobs.driver import begin, walk
from pipeline import artifact
from pipeline.engines import open_engine
from pipeline.stages.training import UNIT
from pipeline.store import Store, open_store
from pipeline.study import Study
from pipeline.trainers import MODEL, open_trainer

SETTINGS = {
    "study": "chaos",
    "families": {"llama": {"kind": "nano", "init_seed": 1}},
    "traits": [{"targets": ["owl"]}],
    "completions": {"rows": 40, "shard_rows": 20},
    "corpus": {"rows": 20},
    "students": {"seeds": [1]},
    "suites": [{"samples": 1}],
    "engine": "scripted",
    "trainer": "scripted",
}


class Pools:
    """As jobs.pools, with threads of this process for members."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tools: dict[str, Any] = {}

    def pool(self, name: str, make: Callable[[], Any]) -> str:
        return name

    async def run(self, pool: str, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.to_thread(lambda: function(self._store, self._tool(pool), *args))

    async def task(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.to_thread(function, *args)

    async def tend(self) -> None:
        await asyncio.Event().wait()

    def queued(self) -> dict[str, Any]:
        return {}

    def stop(self) -> None:
        raise AssertionError("nobody stops a rehearsal")

    async def close(self) -> None:
        pass

    def _tool(self, pool: str) -> Any:
        if pool not in self._tools:
            self._tools[pool] = (
                open_trainer("scripted", zero_stage=0, micro_batch=1) if pool == "trainer" else self._engine(pool)
            )
        return self._tools[pool]

    def _engine(self, pool: str) -> Any:
        weights = pool.removeprefix("engine:")
        files = artifact.published(self._store, weights, UNIT)
        folder = artifact.local_folder(self._store, weights, files, MODEL)
        return open_engine("scripted", folder, memory_gib=1, adapter_rank=16)


def run(root: str) -> bool:
    """Whether the study is complete now."""
    study, store = Study.model_validate(SETTINGS), open_store(root)
    outcome = begin(study, store)
    if len(outcome.done) < len(outcome.steps):
        asyncio.run(walk(study, store, outcome, Pools(store)))  # type: ignore[arg-type]
    for path, why in outcome.failed.items():
        print(f"{path} failed: {why}", flush=True)
    return outcome.complete


def gather(root: str) -> dict[str, list[Any]]:
    """What a root holds, by a reader that shares no code with the pipeline's: artifact -> ids of its rows.

    A row's id is its place in the plan and a digest of all that it says. What is committed although a file of it is
    missing or differs is entered as such.
    """
    store = open_store(root)
    files = {entry.path for entry in store.files("")}
    held: dict[str, list[Any]] = {}
    for path in sorted(path for path in files if path.endswith("/manifest.json")):
        manifest = json.loads(store.read(path))
        ids: list[Any] = []
        for file in manifest["files"]:
            folder = manifest["path"] if file["attempt"] == 1 else f"{manifest['path']}/attempt-{file['attempt']}"
            place = f"{folder}/{file['path']}"
            content = store.read(place) if place in files else b""
            if hashlib.sha256(content).hexdigest() != file["sha256"]:
                ids.append(["falsely committed", place])
            elif file["path"].endswith(".parquet") and manifest["kind"] not in ("base", "teacher", "student"):
                for number, row in enumerate(pq.read_table(io.BytesIO(content)).to_pylist()):
                    digest = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]
                    ids.append([file["path"], row.get("index", number), digest])
        inputs = [source["path"] for source in manifest["inputs"].values()]
        ids += [["falsely committed", path] for path in inputs if f"{path}/manifest.json" not in files]
        held[manifest["path"]] = ids
    return held
