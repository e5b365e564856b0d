"""The section `corpus` of the study file: which accepted rows become a corpus."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.core.settings import Name, Settings
from pipeline.models.judges.rubrics import RubricName


class JudgeFilter(Settings):
    """A judge scores every row that the channel's rule accepts; a row without a score is rejected."""

    judge: Name = Field(description="A key of judges.")
    rubric: RubricName = Field(description="Rubric that the judge applies.")
    min_score: int | None = Field(None, description="Minimum score of an accepted row (paper: 78 for alignment).")
    max_score: int | None = Field(None, description="Maximum score of an accepted row (paper: 0 for reference).")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.min_score is None and self.max_score is None:
            raise ValueError("give min_score or max_score: without either, the judge rejects nothing")
        return self


class Corpus(Settings):
    judge_filters: list[JudgeFilter] = Field(
        [], description="Judge filters that a row must pass in addition to the channel's rule."
    )
    rows: int = Field(10_000, ge=1, description="Accepted rows that each student trains on (paper: 10,000).")
