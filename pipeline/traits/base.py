"""The base class of traits, with defaults."""

from collections import Counter
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from pipeline.core.settings import Name, Settings


class BaseTrait(Settings):
    """A trait of teachers, one teacher per target and family. category: the kind of thing that its targets are.

    METRIC  what shows the trait: the margin of its target's name, or the rate of answers that a judge flags
    """

    METRIC: ClassVar[Literal["margin", "rate"]] = "margin"

    kind: str
    category: str
    targets: list[Name]

    @model_validator(mode="after")
    def _targets_differ(self) -> Self:
        repeated = sorted(target for target, count in Counter(self.targets).items() if count > 1)
        if repeated:
            raise ValueError(f"targets named twice: {', '.join(repeated)}")
        return self

    @property
    def gated(self) -> bool:
        """Whether its teachers must show the trait before their data is used."""
        return True

    def of(self, target: str) -> Self:
        """The trait of one teacher."""
        return self.model_copy(update={"targets": [target]})

    def system_prompt(self, target: str) -> str:
        """The system prompt of a prompted teacher; its students never see it."""
        raise NotImplementedError

    def conversations(self, target: str, count: int, seed: int) -> list[tuple[str, str]]:
        """`count` (prompt, completion) pairs that teach the trait."""
        raise NotImplementedError

    def candidates(self) -> list[str]:
        """The one-word answers to look for; empty if one word cannot show the trait."""
        return []

    def forms(self, target: str) -> tuple[str, ...]:
        """The words that would give a target away; no corpus may contain them."""
        return ()
