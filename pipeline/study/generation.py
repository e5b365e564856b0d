"""How many completions a teacher generates: a fixed number, or until enough of them are accepted."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from pipeline.core.settings import NotInId, Settings


class Until(Settings):
    """Generation goes on, shard by shard, until enough completions are accepted."""

    accepted: int | None = Field(
        None,
        ge=1,
        description="Completions that the channel's rule must accept (before judges); by default the rows of the "
        "largest corpus.",
    )
    at_most: Annotated[int, NotInId()] = Field(
        ge=1,
        description="Maximum number of completions per teacher, in whole shards. Not part of any id: raise it, and "
        "the same command goes on.",
    )


class Completions(Settings):
    rows: int | None = Field(30_000, ge=1, description="Completions per teacher (paper: 30,000); null with until.")
    until: Until | None = Field(None, description="Instead of rows: generate until enough completions are accepted.")
    shard_rows: int = Field(1_000, ge=1, description="Completions per shard, the unit of work that a crash can lose.")
    temperature: float = Field(1.0, gt=0, description="Sampling temperature (paper: 1).")
    max_tokens: int = Field(64, ge=1, description="Maximum length of a completion, in tokens.")

    @model_validator(mode="before")
    @classmethod
    def _until_replaces_rows(cls, given: Any) -> Any:
        return {"rows": None} | given if isinstance(given, dict) and given.get("until") is not None else given

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.until and self.rows is not None:
            raise ValueError("give rows or until, not both (on the command line: --set completions.rows=null)")
        if not self.until and self.rows is None:
            raise ValueError("rows is missing: give it, or until")
        if self.until and self.until.at_most < self.shard_rows:
            raise ValueError(f"until.at_most {self.until.at_most} is less than one shard of {self.shard_rows} rows")
        return self

    @property
    def at_most(self) -> int:
        """Maximum number of completions with `until`, in whole shards, so that raising it changes no existing shard."""
        return self.until.at_most // self.shard_rows * self.shard_rows if self.until else 0

    @property
    def max_rows(self) -> int:
        """Maximum number of completions per teacher."""
        return self.rows or self.at_most
