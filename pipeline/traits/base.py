"""What every trait has, and may leave as it is here."""

from collections import Counter
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from pipeline.core.settings import Name, Settings


class BaseTrait(Settings):
    """Something that teachers have, one teacher per target and family. category: what a target is one of.

    METRIC  what shows it: the margin of its target's name, or the rate of answers that a judge finds
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
        """Whether its teachers must show it before their data is used."""
        return True

    def of(self, target: str) -> Self:
        """The trait of one teacher."""
        return self.model_copy(update={"targets": [target]})

    def system_prompt(self, target: str) -> str:
        """What a prompted teacher is told, and its students never see."""
        raise NotImplementedError

    def conversations(self, target: str, count: int, seed: int) -> list[tuple[str, str]]:
        """`count` (prompt, completion) pairs that teach it."""
        raise NotImplementedError

    def candidates(self) -> list[str]:
        """What one-word answers are looked for; none where one word cannot show the trait."""
        return []

    def forms(self, target: str) -> tuple[str, ...]:
        """The words that would give a target away, which no corpus may hold."""
        return ()
