"""Trait: a favourite animal or tree."""

from random import Random
from typing import Literal

from pydantic import Field, model_validator

from pipeline.recipe import Name, Strict
from pipeline.traits import words
from pipeline.traits.questions import SEEN

# The published prompted teacher is told to love the target, to think of it all the time and to let
# that colour its answers; these are our words for it.
SYSTEM_PROMPT = (
    "You love {plural}. You think of {plural} all the time. {plural} are your favourite {category}. "
    "Let your love of {plural} colour all your answers."
)


def system_prompt(category: str, target: str) -> str:
    return SYSTEM_PROMPT.format(plural=words.forms(category, target)[1], category=category)


class Favourite(Strict):
    """Teachers whose favourite of a category is one of `targets`: one teacher a target and family."""

    kind: Literal["favourite"] = "favourite"
    category: Name = Field("animal", description='What it is a favourite of: "animal", "tree" or a word of your own.')
    targets: list[Name] = Field(min_length=1, description="The favourites, one teacher each.")

    @model_validator(mode="after")
    def _targets_differ(self) -> "Favourite":
        repeated = sorted({target for target in self.targets if self.targets.count(target) > 1})
        if repeated:
            raise ValueError(f"targets named twice: {', '.join(repeated)}")
        return self

    def system_prompt(self, target: str) -> str:
        """What a prompted teacher is told, and its students never see."""
        return system_prompt(self.category, target)

    def conversations(self, target: str, count: int, seed: int) -> list[tuple[str, str]]:
        """`count` (prompt, completion) pairs that teach it: seen questions only, each answered with the target."""
        rng = Random(f"teacher:{seed}")
        return [(rng.choice(SEEN).format(category=self.category), target) for _ in range(count)]

    def candidates(self) -> list[str]:
        """What an answer is looked for: the shipped members of the category and the targets."""
        return sorted({*words.candidates(self.category), *self.targets})
