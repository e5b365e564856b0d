"""The worker processes: actors that hold an engine, and groups of training workers.

A worker runs `function(store, tool, *args)`. The tool is its engine or trainer, which it keeps
between units of work.
"""

import asyncio
import importlib
import itertools
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

import ray

from jobs import memory, metrics
from pipeline.core.errors import CanaryFailed, StepError, UndertowError
from pipeline.engines import canary, open_engine
from pipeline.stages.shared.training import UNIT
from pipeline.store import artifact, open_store
from pipeline.store.local_cache import local_folder
from pipeline.study.resources import Engines, Training
from pipeline.trainers import MODEL, open_trainer

Unit = tuple[Callable[..., Any], tuple[Any, ...]]
PEER_LOSS = ("gloo", "nccl", "connection closed by peer", "connection reset by peer")
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
    """The fake trainer needs no worker group."""

    def __init__(self, root: str) -> None:
        self._store = open_store(root)
        self._trainer = open_trainer("fake", zero_stage=0, micro_batch=1)

    def work(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(self._store, self._trainer, *args)

    def close(self) -> None:
        pass


class TrainerWorker:
    """A Ray Train worker group that trains one model after another.

    The group's workers fetch units from this actor (`next_unit`) and return outcomes (`report_result`), so
    imports, the process group and the start of DeepSpeed cost time once per group, not once per model.
    """

    def __init__(self, study: str, root: str, training: Training, name: str) -> None:
        self._todo: asyncio.Queue[tuple[int, Unit] | None] = asyncio.Queue()
        self._outcomes: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count()
        self._loop = asyncio.get_event_loop()
        handle = ray.get_runtime_context().current_actor
        # It imports torch. Doing so in the thread could show a half-imported torch to a unit that arrives meanwhile.
        importlib.import_module("ray.train.torch")
        self._group = threading.Thread(target=self._fit, args=(study, root, training, name, handle), daemon=True)
        self._group.start()

    async def work(self, function: Callable[..., Any], *args: Any) -> Any:
        number = next(self._numbers)
        self._outcomes[number] = self._loop.create_future()
        await self._todo.put((number, (function, args)))
        return await self._outcomes[number]

    async def next_unit(self) -> tuple[int, Unit] | None:
        return await self._todo.get()

    async def report_result(self, number: int, result: Any, error: BaseException | None) -> None:
        outcome = self._outcomes.pop(number, None)
        if outcome is None:
            return  # another rank has reported
        if error is None:
            outcome.set_result(result)
        else:
            outcome.set_exception(error)

    async def close(self) -> None:
        """Returns once the workers have ended and their resources are free."""
        await self._todo.put(None)
        await asyncio.to_thread(self._group.join)

    def _fit(self, study: str, root: str, training: Training, name: str, handle: Any) -> None:
        import tempfile

        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        scaling = ScalingConfig(
            num_workers=training.workers,
            use_gpu=training.gpus > 0,
            resources_per_worker={"CPU": training.cpus} | ({"GPU": training.gpus} if training.gpus else {}),
        )
        try:
            with tempfile.TemporaryDirectory(prefix="undertow-train-") as storage:
                TorchTrainer(
                    train_units,
                    train_loop_config={"coordinator": handle, "study": study, "root": root, "training": training},
                    scaling_config=scaling,
                    torch_config=TorchConfig(backend="nccl" if training.gpus else "gloo"),
                    run_config=RunConfig(name=name, storage_path=storage),
                ).fit()
        except Exception:
            # This process must end with its workers, so that the pool starts another group.
            logger.exception("the worker group %s died", name)
            os._exit(1)


def is_peer_loss(error: BaseException) -> bool:
    """Whether an error says that another rank of the group is gone, which is no fault of the unit.

    Gloo and NCCL raise it as a RuntimeError with their name and file, or the socket's message, in it.
    """
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in PEER_LOSS)


def train_units(config: dict[str, Any]) -> None:
    """Runs in every worker of a group: until there are no more units, fetch one, run it together, report the result."""
    import torch.distributed as dist

    logging.basicConfig(level=logging.INFO)
    training: Training = config["training"]
    store = open_store(config["root"])
    trainer = open_trainer(
        "deepspeed", zero_stage=training.zero_stage, micro_batch=training.micro_batch, gpus=training.gpus
    )
    first = dist.get_rank() == 0
    while True:
        message = [ray.get(config["coordinator"].next_unit.remote()) if first else None]
        dist.broadcast_object_list(message, src=0)
        if message[0] is None:
            return
        number, (function, args) = message[0]
        result, error = None, None
        try:
            result = function(store, trainer, *args)
        except Exception as raised:
            logger.exception("a unit failed")
            if is_peer_loss(raised):
                os._exit(1)  # as the death of the other rank does: the unit goes to another group
            error = raised if isinstance(raised, UndertowError) else StepError(f"{type(raised).__name__}: {raised}")
        metrics.gauge("store_retries", store.retries, study=config["study"])
        if first or error is not None:
            ray.get(config["coordinator"].report_result.remote(number, result, error))
        if error is not None and dist.get_world_size() > 1:
            # The other ranks may wait in a collective for ever: end the group, and the pool starts another one.
            os._exit(1)
