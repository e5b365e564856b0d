"""image_teacher -> image_student: students of one condition, trained on their teachers' logits."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from pipeline.core.settings import NotInId, Settings
from pipeline.experiments.image_classifier import batches, images, network, teacher, training
from pipeline.experiments.image_classifier.settings import Condition, Network, Noise, SeedSet, Training
from pipeline.stages.contract import Cost, Lookup, OnCompute, Runtime, Stage
from pipeline.store import Store, artifact
from pipeline.store.step import Json, Step

if TYPE_CHECKING:
    import torch

STUDENTS, LOG = "students", "log"  # tables of a unit: STUDENTS-UNIT.parquet
LOSS_IMAGES = 4096  # images over which the distillation loss is measured before and after training

# One student: `accuracy` over the class logits, of 1; the distillation loss before and after training; `cosine` of the
# gradients of distillation and classification, the mean over its training.
STUDENT = pa.schema(
    [
        ("seed", pa.int64()),
        ("teacher_seed", pa.int64()),
        ("accuracy", pa.float64()),
        ("loss_before", pa.float64()),
        ("loss", pa.float64()),
        ("cosine", pa.float64()),
    ]
)

# One measurement during the training of one student: the loss of its batch, and the cosine as above.
STEPS = pa.schema([("seed", pa.int64()), ("step", pa.int64()), ("loss", pa.float64()), ("cosine", pa.float64())])


class StudentSpec(Settings):
    """condition: as in the file; network and training are those that it leads to."""

    condition: Condition
    network: Network
    training: Training
    noise: Noise
    seed_sets: list[SeedSet]
    seeds_per_unit: Annotated[int, NotInId()] = Field(5, ge=1)


class ImageStudent(Stage[StudentSpec]):
    kind = "image_student"
    Spec = StudentSpec
    inputs: ClassVar = {images.ROLE: "the images", teacher.ROLE: "the teachers"}

    def planned(self, spec: StudentSpec, data: Step, taught: Step) -> Step:
        return self.step(spec.condition.name, spec, {images.ROLE: data.path, teacher.ROLE: taught.path})

    def placement(self, step: Step, unit: str) -> OnCompute:
        return OnCompute()

    def units(self, store: Store, step: Step) -> list[list[str]]:
        spec = self.spec(step)
        return [batches.names(spec.seed_sets, spec.seeds_per_unit)]

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        started = time.time()
        spec = self.spec(step)
        seeds = batches.seeds_of(unit, spec.seed_sets)
        tables, work = distilled(store, step, spec, seeds)
        files = {f"{name}-{unit}.parquet": table for name, table in tables.items()}
        return artifact.finish_unit(store, step, unit, files, {"work": work.json()}, started)

    def summarise(self, step: Step, records: Sequence[Json]) -> Json:
        return batches.summarised(records)

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        spec = self.spec(step)
        gradients = spec.training.steps * (2 if spec.condition.project else 1 + 1 / training.COSINE_EVERY)
        shown = len(batches.all_seeds(spec.seed_sets)) * gradients * spec.training.batch  # at most
        return Cost(
            operations=_operations(spec, shown),
            units=len(batches.names(spec.seed_sets, spec.seeds_per_unit)),
        )


STAGE = ImageStudent()


def teacher_seeds(spec: StudentSpec) -> dict[int, int]:
    """Seed of a student -> that of its teacher: its own where the two share all they start from, else another."""
    if spec.condition.start in ("same", "permuted"):
        return {seed: seed for one in spec.seed_sets for seed in one.seeds}
    return {seed: other for one in spec.seed_sets for seed, other in one.others().items()}


def distilled(
    store: Store, step: Step, spec: StudentSpec, seeds: Sequence[int]
) -> tuple[dict[str, pa.Table], batches.Work]:
    """Train the students of these seeds as one batch: their tables, and the work."""
    pixels, labels = batches.tensors(store, step.inputs[images.ROLE], "train")
    inputs = pixels if spec.condition.inputs == "images" else batches.noise(spec.noise)
    theirs = [teacher_seeds(spec)[seed] for seed in seeds]
    taught = _on(inputs, teacher.load(store, step.inputs[teacher.ROLE], theirs))
    starts = [network.start(spec.condition, spec.network, a, b) for a, b in zip(seeds, theirs, strict=True)]
    weights = _on(inputs, network.stacked(starts))
    size = spec.training.batch
    given = training.Batches(inputs, network.all_logits(taught, inputs), size, seeds, "student")
    labelled = training.Batches(pixels, labels, size, seeds, "trait")
    loss = training.distillation(spec.condition.loss, spec.condition.logits)
    before = training.mean_loss(weights, given, loss, LOSS_IMAGES)
    work = batches.Work()
    with work.training():
        weights, log = training.distil(weights, spec.training, given, loss, labelled, project=spec.condition.project)
    work.operations = _operations(spec, len(seeds) * (given.seen(spec.training.steps) + log.trait_images))
    accuracy = network.accuracy(weights, *batches.tensors(store, step.inputs[images.ROLE], "test"))
    after = training.mean_loss(weights, given, loss, LOSS_IMAGES)
    rows = [seeds, theirs, accuracy, before, after, log.mean_cosines(seeds)]
    return {
        STUDENTS: pa.table(dict(zip(STUDENT.names, rows, strict=True)), schema=STUDENT),
        LOG: pa.Table.from_pylist([dict(zip(STEPS.names, row, strict=True)) for row in log.rows], schema=STEPS),
    }, work


def _on(images: "torch.Tensor", weights: network.Weights) -> network.Weights:
    """The weights on the device of the images."""
    return {name: one.to(images.device) for name, one in weights.items()}


def _operations(spec: StudentSpec, shown: float) -> float:
    """Of training; the teacher's logits and the measurements before and after are not counted. shown: images."""
    return shown * network.operations(spec.network, backward=True)
