"""What a run is made from: a study or an experiment. Both are loaded, checked and planned here."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from pydantic import TypeAdapter

from pipeline.core.errors import InputError
from pipeline.experiments import Experiment
from pipeline.experiments.base import BaseExperiment
from pipeline.plan import planner
from pipeline.stages import dataset
from pipeline.store import Store
from pipeline.store.step import Step
from pipeline.study.loader import read
from pipeline.study.schema import Study
from pipeline.study.smoke import smoke_edition

Job: TypeAlias = Study | BaseExperiment


def load(path: Path, overrides: Sequence[str] = (), *, smoke_test: bool = False) -> Job:
    """The study or experiment in `path` with `a.b=value` overrides applied, or its smaller edition.

    Raises StudyError naming file, line and field of every mistake in either.
    """
    given = read(path, overrides)
    if given.is_experiment:
        experiment: BaseExperiment = given.validated(TypeAdapter(Experiment))
        return experiment.smoke() if smoke_test else experiment
    study = given.validated(TypeAdapter(Study))
    return smoke_edition(study) if smoke_test else study


def plan(job: Job) -> list[Step]:
    """Every step, each after its inputs."""
    return planner.plan(job) if isinstance(job, Study) else job.plan()


def partial_report(
    job: Job,
    steps: list[Step],
    done: Collection[str],
    reasons: Mapping[str, str],
    notes: Mapping[str, str] | None = None,
) -> list[Step]:
    """The last steps without the results that cannot be had; see planner.partial_report."""
    if isinstance(job, Study):
        return planner.partial_report(job, steps, done, reasons, notes)
    return job.partial_report(steps, done, reasons)


def require_data(job: Job, store: Store | None, *, elsewhere: bool) -> None:
    """Raise InputError if a local file of a data set cannot be used; see dataset.require."""
    if isinstance(job, Study):
        dataset.require(dataset.planned_of(job), store, elsewhere=elsewhere)
    else:
        job.require_data(store, elsewhere=elsewhere)


def require_study(job: Job, what: str) -> Study:
    """The study. Raises InputError if it is an experiment, which cannot do what the message says."""
    if not isinstance(job, Study):
        raise InputError(f"{job.name} is an experiment, and {what} is for studies")
    return job
