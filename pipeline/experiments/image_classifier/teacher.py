"""images -> image_teacher: a teacher per seed, trained on the labels with its class logits."""

import time
from collections.abc import Sequence
from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from pipeline.core.settings import NotInId, Settings
from pipeline.experiments.image_classifier import batches, images, network, training
from pipeline.experiments.image_classifier.network import Weights
from pipeline.experiments.image_classifier.settings import Network, SeedSet, Training
from pipeline.stages.contract import Cost, Lookup, OnCompute, Runtime, Stage
from pipeline.store import Store, artifact
from pipeline.store.step import Json, Step

ROLE = "teacher"

# One teacher: `reference` is the accuracy of its initial weights, `accuracy` that after training, of 1.
TEACHERS = pa.schema([("seed", pa.int64()), ("reference", pa.float64()), ("accuracy", pa.float64())])


class TeacherSpec(Settings):
    network: Network
    training: Training
    seed_sets: list[SeedSet]
    seeds_per_unit: Annotated[int, NotInId()] = Field(5, ge=1)


class ImageTeacher(Stage[TeacherSpec]):
    kind = "image_teacher"
    Spec = TeacherSpec
    inputs: ClassVar = {images.ROLE: "the images"}

    def planned(self, spec: TeacherSpec, data: Step) -> Step:
        sizes = f"{spec.network.hidden}-{spec.network.auxiliary}"
        return self.step(sizes, spec, {images.ROLE: data.path})

    def placement(self, step: Step, unit: str) -> OnCompute:
        return OnCompute()

    def units(self, store: Store, step: Step) -> list[list[str]]:
        spec = self.spec(step)
        return [batches.names(spec.seed_sets, spec.seeds_per_unit)]

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        started = time.time()
        spec, path = self.spec(step), step.inputs[images.ROLE]
        seeds = batches.seeds_of(unit, spec.seed_sets)
        pixels, labels = batches.tensors(store, path, "train")
        test = batches.tensors(store, path, "test")
        weights = network.stacked([network.initial(spec.network, seed) for seed in seeds])
        weights = {name: one.to(pixels.device) for name, one in weights.items()}
        reference = network.accuracy(weights, *test)
        given = training.Batches(pixels, labels, spec.training.batch, seeds, "teacher")
        work = batches.Work(operations=_operations(spec, len(seeds) * given.seen(spec.training.steps)))
        with work.training():
            weights = training.train(weights, spec.training, given, training.cross_entropy)
        reached = network.accuracy(weights, *test)
        rows = pa.table({"seed": seeds, "reference": reference, "accuracy": reached}, schema=TEACHERS)
        files = {f"{unit}.parquet": rows, **_saved(weights, seeds)}
        return artifact.finish_unit(store, step, unit, files, {"work": work.json()}, started)

    def summarise(self, step: Step, records: Sequence[Json]) -> Json:
        return batches.summarised(records)

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        spec = self.spec(step)
        shown = len(batches.all_seeds(spec.seed_sets)) * spec.training.steps * spec.training.batch  # at most
        return Cost(operations=_operations(spec, shown), units=len(batches.names(spec.seed_sets, spec.seeds_per_unit)))


STAGE = ImageTeacher()


def _operations(spec: TeacherSpec, shown: int) -> float:
    """shown: images over all seeds and steps."""
    return shown * network.operations(spec.network, backward=True)


def _saved(weights: Weights, seeds: Sequence[int]) -> dict[str, bytes]:
    """File name -> the trained weights of one seed."""
    from safetensors.torch import save

    of_seed = ({name: one[i].cpu().contiguous() for name, one in weights.items()} for i in range(len(seeds)))
    return {_file(seed): save(one) for seed, one in zip(seeds, of_seed, strict=True)}


def load(store: Store, path: str, seeds: Sequence[int]) -> Weights:
    """The trained weights of these teachers, stacked in this order."""
    from safetensors.torch import load as read

    manifest = artifact.require(store, path)
    return network.stacked([read(artifact.read(store, manifest, _file(seed))) for seed in seeds])


def _file(seed: int) -> str:
    return f"weights/{seed}.safetensors"
