"""Arms: experimental conditions that change the corpora, their size, or the training of students."""

from collections.abc import Mapping
from itertools import product
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from pipeline.core.recipe import Recipe
from pipeline.core.settings import Name, Settings
from pipeline.transforms import Transform

Value = int | float | str | bool


class Arm(Settings):
    """One experimental condition. The first arm of a study is the reference and the positive control of the others."""

    name: Name = Field(description="Name of the arm in the report.")
    transforms: list[Transform] = Field(
        [], description="Changes to every corpus, in this order: rows of other teachers, or numbers in another order."
    )
    rows: int | None = Field(None, ge=1, description="Rows per corpus (the dose), if different from corpus.rows.")
    recipe: dict[str, Value] = Field({}, description="Overrides of the students' recipe.")
    in_context: int | Literal["all"] | None = Field(
        None,
        description="In-context instead of training: number of corpus rows shown to the base before each question; "
        "all: as many as fit into its context.",
    )

    @model_validator(mode="after")
    def _adds_up(self) -> "Arm":
        if sum(bool(transform.teachers()) for transform in self.transforms) > 1:
            raise ValueError("two transforms take rows of other teachers; name all those teachers in one transform")
        if isinstance(self.in_context, int) and self.in_context < 1:
            raise ValueError("in_context is a number of rows, 1 or more, or all")
        try:
            Recipe.model_validate(self.recipe)
        except ValidationError as error:
            raise ValueError("; ".join(f"recipe.{e['loc'][0]}: {e['msg']}" for e in error.errors())) from None
        return self

    @property
    def shares(self) -> Mapping[str, float]:
        """Share of the rows (of 1) that come from each other teacher."""
        return {name: share for transform in self.transforms for name, share in transform.teachers().items()}


BASELINE = Arm(name="plain")


def swept(sweep: dict[str, list[Value]]) -> list[Arm]:
    """One arm per combination: {"rank": [2, 8]} -> "rank-2" and "rank-8". `rows` is the dose, all else the recipe."""
    arms = []
    for values in product(*sweep.values()) if sweep else ():
        chosen = dict(zip(sweep, values, strict=True))
        name = "_".join(f"{key}-{_plain(value)}".replace("_", "-") for key, value in chosen.items())
        arms.append(Arm.model_validate({"name": name, "rows": chosen.pop("rows", None), "recipe": chosen}))
    return arms


def _plain(value: Value) -> str:
    """0.0001 and not 1e-04: names have no plus signs and sort as they read."""
    return f"{value:.10f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value).lower()
