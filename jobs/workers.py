"""The worker processes that hold an engine, the fake trainer, or nothing. Training groups: jobs.training_group.

A worker runs `function(store, tool, *args)`. The tool is its engine or trainer, which it keeps
between units of work.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

from jobs import memory, metrics
from pipeline.core.errors import CanaryFailed, StepError, UndertowError
from pipeline.models.engines import canary, open_engine
from pipeline.models.trainers import MODEL, open_trainer
from pipeline.stages.shared.training import UNIT
from pipeline.store import artifact, open_store
from pipeline.store.local_cache import local_folder
from pipeline.study.resources import Engines

logger = logging.getLogger(__name__)


class EngineWorker:
    """One engine on the weights of one artifact; serves every adapter and system prompt on top of them."""

    def __init__(
        self,
        study: str,
        root: str,
        weights: str,
        kind: str,
        engines: Engines,
        adapter_rank: int,
    ) -> None:
        logging.basicConfig(level=logging.INFO)
        self._study = study
        self._store = open_store(root)
        files, results = artifact.files_of(self._store, weights, UNIT)
        folder = local_folder(self._store, weights, files, MODEL)
        self._refusal: StepError | None = None
        try:
            self._engine = open_engine(
                kind,
                folder,
                memory_gib=engines.memory_gib,
                adapter_rank=adapter_rank,
                gpus=engines.gpus,
                tensor_parallel=engines.tensor_parallel,
            )
            if "reference" in results:  # models made by earlier versions have none to compare with
                canary.difference(self._engine, results["reference"], weights)
        except CanaryFailed as error:
            self._refusal = error
        except Exception as error:  # a model that cannot be served fails its steps with the reason
            logger.exception("the engine did not start")
            lines = str(error).strip().splitlines() or ["no message"]
            self._refusal = StepError(f"the engine cannot serve {weights}: {type(error).__name__}: {lines[-1]}")

    def work(self, function: Callable[..., Any], *args: Any) -> Any:
        if self._refusal is not None:
            raise self._refusal
        try:
            return function(self._store, self._engine, *args)
        except UndertowError:
            raise
        except Exception:
            if self._engine.alive():
                raise
            # This process must end with its engine, so that the pool starts another worker.
            logger.exception("the engine died")
            os._exit(1)
        finally:
            metrics.gauge("store_retries", self._store.retries, study=self._study)
            memory.malloc_trim()

    def close(self) -> None:
        if self._refusal is None:
            self._engine.close()


class FakeTrainerWorker:
    """The fake trainer needs no training group."""

    def __init__(self, root: str) -> None:
        self._store = open_store(root)
        self._trainer = open_trainer("fake", zero_stage=0, micro_batch=1)

    def work(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(self._store, self._trainer, *args)

    def close(self) -> None:
        pass


class ComputeWorker:
    """Runs units that need neither engine nor trainer, on CPUs and GPUs of its own."""

    def __init__(self, root: str, cpus: float) -> None:
        # Ray sets one thread for all workers (jobs.cluster); torch and BLAS read the number when they are imported.
        os.environ["OMP_NUM_THREADS"] = str(max(1, int(cpus)))
        self._store = open_store(root)

    def work(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(self._store, None, *args)
        finally:
            memory.malloc_trim()

    def close(self) -> None:
        pass
