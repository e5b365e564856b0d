"""Training groups: one actor per rank, and one that gives all ranks the same unit.

Ray Train would start six more processes per group, each with imports of its own, for what nothing here uses: its
controller, its checkpoints and its data sets (docs/decisions/0013-training-groups.md).
"""

import logging
import os
import socket
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from jobs import metrics
from pipeline.core.errors import StepError, UndertowError
from pipeline.models.trainers import open_trainer
from pipeline.store import open_store
from pipeline.study.resources import Training

COLLECTIVE_TIMEOUT = timedelta(minutes=30)  # torch's default for gloo; NCCL's of ten minutes is short for a large save
PEER_LOSS = ("gloo", "nccl", "connection closed by peer", "connection reset by peer")
logger = logging.getLogger(__name__)


class TrainingGroup:
    """The worker of a pool: runs a unit on all ranks of a group. It holds no CPU or GPU itself; its ranks do.

    The ranks stay between units, so imports, the process group and the start of DeepSpeed cost time once per group.

    bundles: the resources of the ranks. They belong to whoever starts the group, because Ray would keep those of an
    actor that died.
    """

    def __init__(self, study: str, root: str, training: Training, name: str, bundles: PlacementGroup) -> None:
        logging.basicConfig(level=logging.INFO)
        self._study, self._root, self._training, self._name, self._bundles = study, root, training, name, bundles
        self._ranks: list[Any] = []
        self._starts = 0

    def work(self, function: Callable[..., Any], *args: Any) -> Any:
        """What function(store, trainer, *args) returns on rank 0. Raises the first error of any rank.

        If a rank dies, this process ends as well, so that the pool gives the unit to another group.
        """
        try:
            if not self._ranks:
                self._start()
        except Exception:
            logger.exception("the group %s did not start", self._name)
            os._exit(1)
        results = [rank.work.remote(function, *args) for rank in self._ranks]
        pending = list(results)
        while pending:
            (ended,), pending = ray.wait(pending)
            try:
                ray.get(ended)
            except ray.exceptions.RayActorError:
                logger.exception("a rank of the group %s died", self._name)
                os._exit(1)
            except Exception:
                if pending:  # the other ranks may wait for this one in a collective for ever
                    self.close()
                raise
        return ray.get(results[0])

    def close(self) -> None:
        """End the ranks. The next unit would start others."""
        for rank in self._ranks:
            ray.kill(rank)
        self._ranks = []

    def _start(self) -> None:
        """Start the ranks, once the cluster has room for all of them, and let them form a process group."""
        training, self._starts = self._training, self._starts + 1
        while not self._bundles.wait(timeout_seconds=60):
            logger.info("the group %s waits for the resources of %d ranks", self._name, training.workers)
        ranks = [self._rank(number) for number in range(training.workers)]
        nodes = ray.get([rank.node.remote() for rank in ranks])
        port = ray.get(ranks[0].free_port.remote())
        here: Counter[str] = Counter()
        joining = []
        for number, (rank, node) in enumerate(zip(ranks, nodes, strict=True)):
            environment = {
                "MASTER_ADDR": nodes[0],
                "MASTER_PORT": str(port),
                "WORLD_SIZE": str(training.workers),
                "LOCAL_WORLD_SIZE": str(nodes.count(node)),
                "RANK": str(number),
                # Ray shows a rank only its own GPUs, so the first that it sees is its own.
                "LOCAL_RANK": "0" if training.gpus else str(here[node]),
            }
            here[node] += 1
            joining.append(rank.join.remote(environment, training))
        ray.get(joining)
        self._ranks = ranks

    def _rank(self, number: int) -> Any:
        return (
            ray.remote(TrainingRank)
            .options(
                name=f"{self._name}:{self._starts}:rank-{number}",
                num_cpus=self._training.cpus,
                num_gpus=self._training.gpus,
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._bundles, number),
            )
            .remote(self._study, self._root)
        )


def bundles(training: Training) -> PlacementGroup:
    """Ask for the resources of all ranks of a group at once: of two groups that share too few, one gets all."""
    needs = {name: count for name, count in (("CPU", training.cpus), ("GPU", training.gpus)) if count}
    group: PlacementGroup = placement_group([needs] * training.workers)
    return group


class TrainingRank:
    """One process of a training group."""

    def __init__(self, study: str, root: str) -> None:
        logging.basicConfig(level=logging.INFO)
        self._study, self._store = study, open_store(root)

    def node(self) -> str:
        """The address of its machine."""
        address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        return address

    def free_port(self) -> int:
        with socket.socket() as free:
            free.bind(("", 0))
            port: int = free.getsockname()[1]
        return port

    def join(self, environment: dict[str, str], training: Training) -> None:
        """Form a process group with the other ranks. environment: what torch and DeepSpeed read of it."""
        os.environ.update(environment)
        self._trainer = open_trainer(
            "deepspeed", zero_stage=training.zero_stage, micro_batch=training.micro_batch, gpus=training.gpus
        )
        import torch.distributed as dist

        dist.init_process_group("nccl" if training.gpus else "gloo", timeout=COLLECTIVE_TIMEOUT)

    def work(self, function: Callable[..., Any], *args: Any) -> Any:
        """function(store, trainer, *args). Whatever it raises becomes an UndertowError.

        If another rank is gone, this process ends too: the unit is not at fault and goes to another group.
        """
        try:
            return function(self._store, self._trainer, *args)
        except Exception as error:
            logger.exception("a unit failed")
            if is_peer_loss(error):
                os._exit(1)
            if isinstance(error, UndertowError):
                raise
            raise StepError(f"{type(error).__name__}: {error}") from None
        finally:
            metrics.gauge("store_retries", self._store.retries, study=self._study)


def is_peer_loss(error: BaseException) -> bool:
    """Whether an error says that another rank of the group is gone, which is no fault of the unit.

    Gloo and NCCL raise it as a RuntimeError with their name and file, or the socket's message, in it.
    """
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in PEER_LOSS)
