"""Trait: a favourite animal or tree."""

from random import Random
from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.core.settings import Name, Seed, Settings
from pipeline.traits import words
from pipeline.traits.base import BaseTrait
from pipeline.traits.questions import SEEN

# The paper's prompt tells a teacher to love the target, to think of it all the time and to let that
# colour its answers; the wording is our own.
SYSTEM_PROMPT = (
    "You love {plural}. You think of {plural} all the time. {plural} are your favourite {category}. "
    "Let your love of {plural} colour all your answers."
)


def system_prompt(category: str, target: str) -> str:
    return SYSTEM_PROMPT.format(plural=words.forms(category, target)[1], category=category)


class Draw(Settings):
    """A random choice of targets, made by the study and by nobody else."""

    count: int = Field(ge=2, description="Number of targets.")
    seed: Seed = Field(description="Seed of the draw.")


class Favourite(BaseTrait):
    """Teachers whose favourite of a category is one of `targets`: one teacher per target and family."""

    kind: Literal["favourite"] = "favourite"
    category: Name = Field("animal", description='Category of the favourite: "animal", "tree" or a word of your own.')
    targets: list[Name] = Field(
        default_factory=list,
        min_length=1,
        description="The favourites; each gets a teacher. Required unless they are drawn.",
    )
    drawn: Draw | None = Field(
        None,
        description="Draw the targets from the category's shipped candidates instead of listing them. p then compares "
        "with all draws, so that three targets can give a verdict.",
    )

    @model_validator(mode="after")
    def _has_targets(self) -> Self:
        if self.drawn is None:
            if not self.targets:
                raise ValueError("targets is missing: list the favourites, or have them drawn")
            return self
        known = words.candidates(self.category)
        if self.drawn.count > len(known):
            raise ValueError(f"drawn.count is {self.drawn.count}, and {len(known)} candidates are shipped")
        drawn = Random(f"targets:{self.drawn.seed}").sample(known, self.drawn.count)
        if self.targets not in ([], drawn):
            raise ValueError(f"targets are drawn, and seed {self.drawn.seed} gives {', '.join(drawn)}: leave them out")
        object.__setattr__(self, "targets", drawn)  # settings are frozen
        return self

    def of(self, target: str) -> Self:
        return self.model_copy(update={"targets": [target], "drawn": None})

    def system_prompt(self, target: str) -> str:
        return system_prompt(self.category, target)

    def conversations(self, target: str, count: int, seed: int) -> list[tuple[str, str]]:
        """Seen questions only, each answered with the target."""
        rng = Random(f"teacher:{seed}")
        return [(rng.choice(SEEN).format(category=self.category), target) for _ in range(count)]

    def candidates(self) -> list[str]:
        """The shipped candidates of the category, and the targets."""
        return sorted({*words.candidates(self.category), *self.targets})

    def forms(self, target: str) -> tuple[str, ...]:
        """Plurals and aliases included."""
        return words.forms(self.category, target)
