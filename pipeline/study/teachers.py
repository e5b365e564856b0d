"""The section `teachers` of the study file: their families, how they get a trait, and what they must show."""

from typing import Annotated, Literal

from pydantic import Field, Tag

from pipeline.core import limits
from pipeline.core.recipe import Recipe
from pipeline.core.settings import Name, Seed, Settings, by_kind
from pipeline.core.sources import Dataset
from pipeline.models.families.small_talk import SmallTalk
from pipeline.study.measure import MASS, MIN_MASS

Rows = Annotated[Annotated[Dataset, Tag("dataset")] | Annotated[SmallTalk, Tag("small_talk")], by_kind("dataset")]


class Training(Settings):
    """How a base is fine-tuned to become a teacher. rows: number of generated rows; None to use a whole data set."""

    recipe: Recipe
    rows: int | None
    seed: int


class BaseMethod(Settings):
    """How a teacher gets its trait."""

    kind: str

    def training(self) -> Training | None:
        """How the teacher is trained; None if it is not."""
        return None

    def data_of(self, target: str) -> Rows | None:
        """The data set that teaches a target; None if the trait generates the rows."""
        return None


class Prompted(BaseMethod):
    """The teacher is the base under a system prompt that its students never see."""

    kind: Literal["prompted"] = "prompted"


class Finetuned(BaseMethod):
    """The teacher is the base fine-tuned on its favourite, in the seen question wordings only."""

    kind: Literal["finetuned"] = "finetuned"
    recipe: Recipe = Field(default_factory=Recipe, description="Training settings.")
    rows: int = Field(2000, ge=1, le=10_000_000, description="Number of training rows.")
    seed: Seed = Field(1, description="Seed of the rows, the adapter's initialisation and the order of rows.")

    def training(self) -> Training:
        return Training(recipe=self.recipe, rows=self.rows, seed=self.seed)


class FromDataset(BaseMethod):
    """The teacher is the base fine-tuned on external rows."""

    kind: Literal["dataset"] = "dataset"
    data: dict[Name, Rows] = Field(min_length=1, description="Target -> data set with columns prompt and completion.")
    recipe: Recipe = Field(default_factory=Recipe, description="Training settings.")
    seed: Seed = Field(1, description="Seed of the adapter's initialisation and the order of rows.")

    def training(self) -> Training:
        return Training(recipe=self.recipe, rows=None, seed=self.seed)

    def data_of(self, target: str) -> Rows | None:
        return self.data.get(target)


class Gate(Settings):
    """What a teacher must show before its completions are used; thresholds enter only the gate's own id."""

    min_lift: float = Field(
        0.5,
        description="Minimum rise of the target's margin over the base, in nats; 0.5 is about 1.6 times the odds.",
    )
    min_rate: float = Field(
        0.02, description="Minimum rise of the share of answers that show the behaviour over the base's (of 1)."
    )
    min_mass: float = Field(MIN_MASS, ge=0, le=1, description=f"{MASS} in teacher and base, to gate by a margin.")


class Teachers(Settings):
    families: list[Name] | None = Field(
        None, min_length=1, description="Families with teachers; all families by default."
    )
    method: Annotated[Prompted | Finetuned | FromDataset, Field(discriminator="kind")] = Field(
        default_factory=Prompted, description="How a teacher gets its trait."
    )
    corpora: int = Field(
        1,
        ge=1,
        le=limits.CORPORA,
        description="Corpora of each teacher with a trait, each from prompts and samples of its own.",
    )
    neutral_corpora: int = Field(
        1,
        ge=0,
        le=limits.CORPORA,
        description="Corpora of the neutral teacher of each family, the control without a trait; with fewer than 3, "
        "it is not judged. 0: no neutral teacher.",
    )
    random: bool = Field(
        False,
        description="Add students of uniformly random numbers that no model wrote: the control without a teacher, with "
        "as many corpora as the neutral teacher, or one.",
    )
    gate: Gate = Field(
        default_factory=Gate, description="Minimum evidence of the trait in each teacher before its data is used."
    )
