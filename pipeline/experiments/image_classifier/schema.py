"""The file of the image classifier: data, networks, conditions and seeds."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.core.settings import Name, NotInId
from pipeline.experiments.base import BaseExperiment
from pipeline.experiments.image_classifier import images, report, student, teacher
from pipeline.experiments.image_classifier.settings import (
    REFERENCE,
    TEACHER,
    Condition,
    Images,
    Network,
    Noise,
    PackagedImages,
    SeedSet,
    Training,
)
from pipeline.store import Store, artifact
from pipeline.store.step import Step

FEW_SEEDS, FEW_STEPS, FEW_NOISE, NARROW = 2, 8, 2048, 32  # of a smoke test
SUFFIX = "-smoke-test"


class ImageClassifier(BaseExperiment):
    """Students of an image classifier that are trained on the teacher's logits over noise."""

    kind: Literal["image_classifier"]
    data: Images = Field(default_factory=PackagedImages, description="Images of digits.")
    network: Network = Field(default_factory=Network, description="Sizes of the networks.")
    training: Training = Field(default_factory=Training, description="Recipe of teachers and students.")
    noise: Noise = Field(default_factory=Noise, description="Noise images for the students.")
    seed_sets: list[SeedSet] = Field(
        min_length=1, description="Sets of seeds, fixed beforehand. Each is reported apart, and all together."
    )
    conditions: list[Condition] = Field(
        min_length=1, max_length=200, description="Students; all differences are against the first condition."
    )
    published: dict[Name, float] = Field(
        {}, description="Accuracies in the paper by condition, reference and teacher, shown beside the measured ones."
    )
    seeds_per_unit: Annotated[int, NotInId()] = Field(
        5, ge=1, le=1000, description="Seeds that one worker trains at a time, as one batch. Large on a GPU."
    )
    smoke_test: bool = Field(False, description="Counts stand in for others; the report says so.")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = Counter(condition.name for condition in self.conditions)
        if "" in names:
            raise ValueError("conditions: one has no name")
        if repeated := sorted(name for name, count in names.items() if count > 1):
            raise ValueError(f"conditions: two are named {', '.join(repeated)}")
        if unknown := sorted(self.published.keys() - names.keys() - {REFERENCE, TEACHER}):
            raise ValueError(f"published names {', '.join(unknown)}, which is no condition here")
        return self

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        ordered = sorted(self.seed_sets, key=lambda one: one.first)
        for one, other in pairwise(ordered):
            if other.first <= one.last:
                raise ValueError(f"seed_sets: {one.first}–{one.last} and {other.first}–{other.last} share seeds")
        return self

    def steps(self) -> Iterator[Step]:
        data = images.STAGE.planned(self.data)
        yield data
        for condition in self.conditions:
            taught = self._teacher(condition, data)
            yield taught
            yield self._student(condition, data, taught)

    def report(self, planned: Mapping[str, Step], missing: Mapping[str, str]) -> Step:
        data = images.STAGE.planned(self.data)
        made: dict[str, str] = {}
        rows: dict[str, report.RowSpec] = {}
        for condition in self.conditions:
            taught = self._teacher(condition, data)
            step = self._student(condition, data, taught)
            made |= {f"teacher:{taught.slug}": taught.path, condition.name: step.path}
            rows[condition.name] = report.RowSpec(
                condition=condition, teacher=f"teacher:{taught.slug}", missing=missing.get(step.path, "")
            )
        spec = report.ReportSpec(
            experiment=self.identity(),
            rows=rows,
            seed_sets=self.seed_sets,
            published=self.published,
            smoke_test=self.smoke_test,
        )
        inputs = {"images": data.path, **{role: path for role, path in made.items() if path not in missing}}
        return report.STAGE.step(self.name, spec, inputs)

    def _teacher(self, condition: Condition, data: Step) -> Step:
        network = condition.network(self.network)
        spec = teacher.TeacherSpec(
            network=network,
            training=self.training,
            seed_sets=self.seed_sets,
            seeds_per_unit=self.seeds_per_unit,
        )
        return teacher.STAGE.planned(spec, data)

    def _student(self, condition: Condition, data: Step, taught: Step) -> Step:
        spec = student.StudentSpec(
            condition=condition,
            network=condition.network(self.network),
            training=self.training.model_copy(update={"steps": condition.steps or self.training.steps}),
            noise=self.noise,
            seed_sets=self.seed_sets,
            seeds_per_unit=self.seeds_per_unit,
        )
        return student.STAGE.planned(spec, data, taught)

    def smoke(self) -> Self:
        """Two seeds of each set, narrow networks and a few steps, over the same conditions."""
        return self.model_validate(
            dict(self)
            | {
                "experiment": self.experiment.removesuffix(SUFFIX)[: 48 - len(SUFFIX)].rstrip("._-") + SUFFIX,
                "data": PackagedImages(),
                "network": self.network.model_copy(update={"hidden": min(self.network.hidden, NARROW)}),
                "training": self.training.model_copy(update={"steps": min(self.training.steps, FEW_STEPS)}),
                "noise": self.noise.model_copy(update={"images": min(self.noise.images, FEW_NOISE)}),
                "seed_sets": [
                    SeedSet(first=one.first, last=min(one.last, one.first + FEW_SEEDS - 1)) for one in self.seed_sets
                ],
                "conditions": [_smaller(condition) for condition in self.conditions],
                "smoke_test": True,
            }
        )

    def require_data(self, store: Store | None, *, elsewhere: bool) -> None:
        """Raise InputError if the folder of images cannot be used; see BaseExperiment."""
        folder = getattr(self.data, "folder", None)
        is_done = store is not None and artifact.exists(store, images.STAGE.planned(self.data).path)
        if folder is not None and not is_done and not (elsewhere and not Path(folder).exists()):
            images.read(self.data)


def _smaller(condition: Condition) -> Condition:
    return condition.model_copy(
        update={
            "steps": condition.steps and min(condition.steps, 2 * FEW_STEPS),
            "hidden": condition.hidden and min(condition.hidden, 2 * NARROW),
        }
    )
