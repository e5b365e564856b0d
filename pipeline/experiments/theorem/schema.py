"""The file of the theorem's check: its design, and what counts as agreement."""

from collections.abc import Iterator, Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.experiments.base import BaseExperiment
from pipeline.experiments.theorem import draws, report
from pipeline.experiments.theorem.settings import Criteria, Design
from pipeline.store.step import Step

FEW_DRAWS = 2  # per combination, of a smoke test
SUFFIX = "-smoke-test"


class Theorem(BaseExperiment):
    """Whether one small step on a teacher's outputs ever moves a student of its initialisation away from it."""

    kind: Literal["theorem"]
    design: Design = Field(default_factory=Design, description="Networks, losses, inputs, steps and seeds.")
    criteria: Criteria = Field(default_factory=Criteria, description="What counts as agreement.")
    smoke_test: bool = Field(False, description="Counts stand in for others; the report says so.")

    @model_validator(mode="after")
    def _has_the_step(self) -> Self:
        if self.criteria.step not in self.design.teacher_steps:
            raise ValueError(f"criteria.step {self.criteria.step:g} is not one of design.teacher_steps")
        return self

    def steps(self) -> Iterator[Step]:
        yield self._draws()

    def report(self, planned: Mapping[str, Step], missing: Mapping[str, str]) -> Step:
        spec = report.ReportSpec(
            experiment=self.identity(), design=self.design, criteria=self.criteria, smoke_test=self.smoke_test
        )
        return report.STAGE.step(self.name, spec, {report.ROLE: self._draws().path})

    def _draws(self) -> Step:
        return draws.STAGE.planned(self.design)

    def smoke(self) -> Self:
        """The same combinations with two draws each."""
        return self.model_copy(
            update={
                "experiment": self.experiment.removesuffix(SUFFIX)[: 48 - len(SUFFIX)].rstrip("._-") + SUFFIX,
                "design": self.design.model_copy(update={"draws": min(self.design.draws, FEW_DRAWS)}),
                "smoke_test": True,
            }
        )
