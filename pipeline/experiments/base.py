"""The base class of experiments: what `undertow` needs of their files besides their settings."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Self

from pydantic import Field

from pipeline.core.settings import Name, NotInId, Settings
from pipeline.core.sources import placeholders
from pipeline.models.families import Family
from pipeline.stages import require_short
from pipeline.store import Store
from pipeline.store.step import Step, dependents, identity
from pipeline.study.resources import Resources


class BaseExperiment(Settings):
    """One experiment: a plan of its own, made by the scheduler of studies.

    A subclass sets `kind`, and implements `steps`, `report` and `smoke`. Its stages are registered in
    pipeline.store.step.EXPERIMENTS.
    """

    experiment: Name = Field(description="Name of the experiment.")
    resources: Annotated[Resources, NotInId()] = Field(
        default_factory=Resources, description="Where and how fast it runs; not part of any id."
    )

    def steps(self) -> Iterable[Step]:
        """Every step but the report, each after its inputs; equal ones may be repeated."""
        raise NotImplementedError

    def report(self, planned: Mapping[str, Step], missing: Mapping[str, str]) -> Step:
        """The last step. planned: path -> finished or planned step. missing: path -> why it cannot be had."""
        raise NotImplementedError

    def smoke(self) -> Self:
        """A smaller edition with the same kinds of steps, to see that everything works. Idempotent."""
        raise NotImplementedError

    def require_data(self, store: Store | None, *, elsewhere: bool) -> None:
        """Raise InputError if a local file that it names cannot be used.

        store: what it holds already is not read again; None if it is not known. elsewhere: the files may be on other
        machines, so a missing one is no error.
        """

    def plan(self) -> list[Step]:
        """Every step, each after its inputs; the last is the report. Raises StudyError on a name too long to store."""
        return self._planned({})

    def partial_report(self, steps: list[Step], done: Collection[str], reasons: Mapping[str, str]) -> list[Step]:
        """The report without the results that cannot be had; empty if none is lost, or if all are.

        steps: its plan. done: paths of finished steps. reasons: path of a failed step -> reason code.
        """
        lost = dependents(steps, reasons) | dict(reasons)
        needed = [path for path in steps[-1].inputs.values() if path in done and path not in lost]
        is_short = any(path in lost for path in steps[-1].inputs.values())
        return self._planned(lost)[-1:] if is_short and needed else []

    def _planned(self, missing: Mapping[str, str]) -> list[Step]:
        planned: dict[str, Step] = {}

        def add(step: Step) -> None:
            inputs = {role: planned[path].identity for role, path in step.inputs.items()}
            planned.setdefault(step.path, replace(step, identity=identity(step, inputs)))

        for step in self.steps():
            add(step)
        add(self.report(planned, missing))
        require_short(list(planned.values()))
        return list(planned.values())

    @property
    def name(self) -> str:
        return self.experiment

    @property
    def families(self) -> Mapping[str, Family]:
        """Its base models, by name."""
        return {}

    @property
    def engine(self) -> str:
        return "vllm"

    @property
    def trainer(self) -> str:
        return "deepspeed"

    @property
    def adapter_rank(self) -> int:
        return 0

    @property
    def unpinned(self) -> list[str]:
        """One instruction per commit that is still a placeholder; with any of them it is not run."""
        return [
            f"{setting} is a placeholder: set it to the commit you want, as --set {setting}=…"
            for setting in placeholders(self)
        ]
