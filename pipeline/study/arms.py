"""What is done otherwise than in the plain experiment: to the corpora, to their rows, or to the students."""

from itertools import product
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from pipeline.core.recipe import Name, Recipe, Strict

Share = Annotated[float, Field(gt=0, le=1)]
Value = int | float | str | bool
ALL = "all"


class Arm(Strict):
    """One way of making corpora and of training on them. The first arm of a study is the one that others are
    compared with: it is the positive control of their nulls."""

    name: Name = Field(description="Name of the arm in the report.")
    shuffle: Literal["within", "across"] | None = Field(
        None, description="Shuffle the numbers within each row, or across all rows."
    )
    mix: dict[str, Share] = Field(
        {},
        description='Shares of rows (of 1) from other teachers: "neutral" or a target of the teacher\'s family, '
        'or "FAMILY/TARGET" of another. The rest is the teacher\'s own.',
    )
    rows: int | None = Field(None, ge=1, description="Rows per corpus (the dose), if different from corpus.rows.")
    recipe: dict[str, Value] = Field({}, description="Overrides of the students' recipe.")
    in_context: int | Literal["all"] | None = Field(
        None,
        description="In-context instead of training: the base gets so many rows of the corpus before the question; "
        "all: as many as its context holds.",
    )

    @model_validator(mode="after")
    def _adds_up(self) -> "Arm":
        if sum(self.mix.values()) > 1:
            raise ValueError(f"the shares of mix add up to {sum(self.mix.values()):g}, more than 1")
        if isinstance(self.in_context, int) and self.in_context < 1:
            raise ValueError("in_context is a number of rows, 1 or more, or all")
        try:
            Recipe.model_validate(self.recipe)
        except ValidationError as error:
            raise ValueError("; ".join(f"recipe.{e['loc'][0]}: {e['msg']}" for e in error.errors())) from None
        return self


PLAIN = Arm(name="plain")


def swept(sweep: dict[str, list[Value]]) -> list[Arm]:
    """One arm a combination: {"rank": [2, 8]} -> "rank-2" and "rank-8". `rows` is the dose, all else of the recipe."""
    arms = []
    for values in product(*sweep.values()) if sweep else ():
        chosen = dict(zip(sweep, values, strict=True))
        name = "_".join(f"{key}-{_plain(value)}".replace("_", "-") for key, value in chosen.items())
        arms.append(Arm.model_validate({"name": name, "rows": chosen.pop("rows", None), "recipe": chosen}))
    return arms


def _plain(value: Value) -> str:
    """0.0001 and not 1e-04: names have no plus signs and sort as they read."""
    return f"{value:.10f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value).lower()
