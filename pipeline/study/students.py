"""The section `students` of the study file: their families, seeds, and how they are fine-tuned."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.core import limits
from pipeline.core.recipe import Recipe
from pipeline.core.settings import Name, Seed
from pipeline.study.arms import BASELINE, Arm


class Students(Recipe):
    families: list[Name] | None = Field(
        None, min_length=1, description="Families with students; all families by default."
    )
    foreign_families: int | None = Field(
        None,
        ge=0,
        description="Number of other families whose students read a teacher's data: the next ones of families, in a "
        "circle; all by default.",
    )
    seeds: list[Seed] = Field(
        default=[1, 2, 3, 4, 5, 6, 7, 8],
        min_length=1,
        max_length=limits.SEEDS,
        description="One student per seed of initialisation and order of rows (paper: 8 seeds).",
    )

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is listed twice; every student needs its own")
        return self

    def recipe(self, arm: Arm = BASELINE) -> Recipe:
        """The students' recipe in an arm."""
        return Recipe.model_validate(self.model_dump(include=set(Recipe.model_fields)) | arm.recipe)
