"""Batches of seeds: the units of the steps of teachers and students, and what a worker measures of each."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

from pipeline.experiments.image_classifier import images, throughput
from pipeline.experiments.image_classifier.digits import PIXELS, pixels_of
from pipeline.experiments.image_classifier.network import generator
from pipeline.experiments.image_classifier.settings import Noise, SeedSet
from pipeline.store import Store, artifact
from pipeline.store.step import Json

if TYPE_CHECKING:
    import torch


def all_seeds(sets: Sequence[SeedSet]) -> list[int]:
    return sorted(chain.from_iterable(one.seeds for one in sets))


def names(sets: Sequence[SeedSet], size: int) -> list[str]:
    """Names of the units, of at most `size` seeds each."""
    seeds = all_seeds(sets)
    parts = [seeds[at : at + size] for at in range(0, len(seeds), size)]
    return [f"seeds-{part[0]}-{part[-1]}" for part in parts]


def seeds_of(unit: str, sets: Sequence[SeedSet]) -> list[int]:
    """The seeds of a unit, from its name."""
    _, first, last = unit.split("-")
    return [seed for seed in all_seeds(sets) if int(first) <= seed <= int(last)]


@dataclass
class Work:
    """The work of a unit. operations: floating-point. seconds: of training, by `clock`. matmul: see matmul_rate."""

    operations: float = 0.0
    seconds: float = 0.0
    matmul: float = 0.0

    def json(self) -> Json:
        return vars(self).copy()

    @contextmanager
    def training(self) -> Iterator[None]:
        """Time a training between two measurements of the worker's throughput: caches and clock rates are shared."""
        before = throughput.matmul_rate()
        started = throughput.clock()
        yield
        self.seconds = throughput.clock() - started
        self.matmul = (before + throughput.matmul_rate()) / 2


def summarised(records: Sequence[Json]) -> Json:
    """The speed of a step: operations per second of training, and of matmuls, both per worker."""
    work = [record["results"]["work"] for record in records]
    seconds = sum(one["seconds"] for one in work)
    return {
        "operations": sum(one["operations"] for one in work),
        "training_seconds": round(seconds, 3),
        "operations_per_second": sum(one["operations"] for one in work) / seconds if seconds else 0.0,
        # Weighted as the training is, so that both are means over the same time.
        "matmul_per_second": sum(one["matmul"] * one["seconds"] for one in work) / seconds if seconds else 0.0,
    }


def tensors(store: Store, path: str, split: str) -> "tuple[torch.Tensor, torch.Tensor]":
    """(N, D) images in [−1, 1] and (N,) labels of one split of an artifact of images, on the worker's device."""
    pixels, labels = _read(store.root, path, split)
    on = throughput.device()
    return pixels.to(on), labels.to(on)


def noise(settings: Noise) -> "torch.Tensor":
    """(N, D): the noise images, on the worker's device."""
    return _drawn(settings.images, settings.seed).to(throughput.device())


# A worker runs many units on the same images; these keep them between units.
@lru_cache(maxsize=2)
def _read(root: str, path: str, split: str) -> "tuple[torch.Tensor, torch.Tensor]":
    import torch

    from pipeline.store import open_store

    store = open_store(root)
    table = artifact.read_table(store, artifact.require(store, path), images.TRAIN if split == "train" else images.TEST)
    pixels = torch.from_numpy(pixels_of(table).copy()).float() / 127.5 - 1
    return pixels, torch.tensor(table["label"].to_pylist())


@lru_cache(maxsize=1)
def _drawn(count: int, seed: int) -> "torch.Tensor":
    import torch

    return torch.rand(count, PIXELS, generator=generator("noise", seed)) * 2 - 1
