"""Transform: rows of other teachers in place of some of the teacher's own."""

from collections.abc import Collection, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.transforms.base import BaseTransform

Share = Annotated[float, Field(gt=0, le=1)]


class Mix(BaseTransform):
    """Part of every corpus comes from other teachers."""

    kind: Literal["mix"] = "mix"
    shares: dict[str, Share] = Field(
        min_length=1,
        description='Share of the rows (of 1) from each other teacher: "neutral" or a target of the teacher\'s family, '
        'or "FAMILY/TARGET" of another. The rest is the teacher\'s own.',
    )

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if sum(self.shares.values()) > 1:
            raise ValueError(f"the shares add up to {sum(self.shares.values()):g}, more than 1")
        return self

    def teachers(self) -> Mapping[str, float]:
        return self.shares

    def among(self, teachers: Collection[str]) -> Self | None:
        left = {name: share for name, share in self.shares.items() if name in teachers}
        return self.model_copy(update={"shares": left}) if left else None
