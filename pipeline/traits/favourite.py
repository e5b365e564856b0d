"""Trait: a favourite animal or tree."""

from random import Random
from typing import Literal

from pydantic import Field

from pipeline.core.settings import Name
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


class Favourite(BaseTrait):
    """Teachers whose favourite of a category is one of `targets`: one teacher per target and family."""

    kind: Literal["favourite"] = "favourite"
    category: Name = Field("animal", description='Category of the favourite: "animal", "tree" or a word of your own.')
    targets: list[Name] = Field(min_length=1, description="The favourites; each gets a teacher.")

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
