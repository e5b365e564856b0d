"""images: the digits that teachers are trained on and everyone is tested on."""

import time
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.lineage_graph import Node
from pipeline.core.settings import Settings
from pipeline.experiments.image_classifier import digits
from pipeline.experiments.image_classifier.settings import FolderImages, Images, PackagedImages
from pipeline.provenance.manifests import Made, Parent
from pipeline.stages.contract import Cost, Lookup, Runtime, Stage
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.step import Json, Step

TRAIN, TEST = "train.parquet", "test.parquet"
ROLE = "images"


class ImagesSpec(Settings):
    images: Images


class ImagesStage(Stage[ImagesSpec]):
    kind = "images"
    Spec = ImagesSpec
    inputs: ClassVar = {}

    def planned(self, given: PackagedImages | FolderImages) -> Step:
        if isinstance(given, FolderImages):  # workers have their own working directories
            given = given.model_copy(update={"folder": str(Path(given.folder).absolute())})
        return self.step(given.kind, ImagesSpec(images=given), {})

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        started = time.time()
        found = read(self.spec(step).images)
        results = {
            "train_images": found.train.num_rows,
            "test_images": found.test.num_rows,
            "per_class": {name: _per_class(table) for name, table in (("train", found.train), ("test", found.test))},
            "source": found.source,
        }
        return artifact.finish_unit(store, step, unit, {TRAIN: found.train, TEST: found.test}, results, started)

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        return Cost(table_rows=1.0)

    def lineage(self, made: Manifest) -> Made:
        source = Node(f"rows:{made.results['source']}", "data set")
        return Made("data set", (Parent("merged_from", source, "settings.images", 1.0),))


STAGE = ImagesStage()


def read(given: PackagedImages | FolderImages) -> digits.Digits:
    """The images. Raises InputError."""
    if isinstance(given, FolderImages):
        return digits.from_folder(Path(given.folder))
    return digits.packaged(given.test_images)


def _per_class(table: pa.Table) -> list[int]:
    """Images of each class, in order."""
    labels = table["label"]
    return [pc.sum(pc.equal(labels, label)).as_py() or 0 for label in range(10)]
