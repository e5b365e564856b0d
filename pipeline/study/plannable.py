"""What estimates and the driver need of a file that is run, whether it is a study or an experiment."""

from collections.abc import Mapping
from typing import Protocol

from pipeline.models.families import Family
from pipeline.study.resources import Resources


class Plannable(Protocol):
    """A study (pipeline.study.schema) or an experiment (pipeline.experiments)."""

    @property
    def name(self) -> str: ...

    @property
    def resources(self) -> Resources: ...

    @property
    def families(self) -> Mapping[str, Family]:
        """Its base models, by name; an experiment may have none."""

    @property
    def engine(self) -> str:
        """The inference backend of its engines."""

    @property
    def trainer(self) -> str:
        """The training backend of its training groups."""

    @property
    def adapter_rank(self) -> int:
        """The largest rank of an adapter that one of its engines serves; 0 if there is none."""

    @property
    def unpinned(self) -> list[str]:
        """One instruction per commit that is still a placeholder; with any of them it is not run."""
