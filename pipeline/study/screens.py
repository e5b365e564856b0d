"""The screens of a study: what is looked at in every corpus before its students are trained."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.core.settings import Settings
from pipeline.screens import Screen


class Screens(Settings):
    """Screens of every corpus, for each family whose students read it."""

    members: list[Screen] = Field([], description="The screens, each at most once; none by default.")
    rows: int = Field(1024, ge=16, description="Rows of a corpus that are looked at, drawn at random.")

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        kinds = [screen.kind for screen in self.members]
        if repeated := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
            raise ValueError(f"members name a screen twice: {', '.join(repeated)}")
        return self
