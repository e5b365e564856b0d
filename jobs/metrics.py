"""Prometheus metrics of a run, exported by Ray, which prefixes each name with `ray_`.

Labels are study, stage and family, never a trait or a row: ten thousand traits make no more series than two.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from pipeline.stages import stage_of
from pipeline.store.artifact import Json
from pipeline.store.step import Step

UNIT_SECONDS = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0]
COMMIT_SECONDS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]

COUNTERS = {
    "completions": ("Completions that teachers generated.", ("study", "stage", "family")),
    "tokens": ("Tokens that engines generated.", ("study", "stage", "family")),
    "judged": ("Completions that a filter judged.", ("study", "stage", "family")),
    "accepted": ("Completions that a filter accepted.", ("study", "stage", "family")),
    "rejects": ("Completions that a filter rejected, counted once per reason.", ("study", "stage", "family", "reason")),
    "training_tokens": ("Tokens trained on.", ("study", "stage", "family")),
}
# The last two count rare events. As gauges they are 0 from the start, so that the first increase is visible.
GAUGES = {
    "steps": ("Steps of the study by state: waiting, running, done, failed or blocked.", ("study", "stage", "state")),
    "workers": ("Engines and training groups that are up.", ("study", "stage", "family")),
    "units_running": ("Units of work in progress.", ("study", "stage", "family")),
    "units_waiting": ("Units of work waiting for a worker: the queue of the engines.", ("study", "stage", "family")),
    "training_loss": ("Loss of the latest optimiser step, in nats per token.", ("study", "stage", "family")),
    "worker_deaths": ("Engines and training groups that died so far.", ("study", "stage", "family")),
    "store_retries": ("Requests to the store that a process had to retry so far.", ("study",)),
}
HISTOGRAMS = {
    "unit_seconds": ("Time per unit of work.", UNIT_SECONDS, ("study", "stage", "family")),
    "commit_seconds": ("Time to store the output of a unit.", COMMIT_SECONDS, ("study", "stage", "family")),
}


@cache
def _metric(name: str) -> Any:
    """This process's metric of that name. Each may be created only once."""
    if name in COUNTERS:
        description, labels = COUNTERS[name]
        return Counter(f"undertow_{name}", description, labels)
    if name in GAUGES:
        description, labels = GAUGES[name]
        return Gauge(f"undertow_{name}", description, labels)
    description, boundaries, labels = HISTOGRAMS[name]
    return Histogram(f"undertow_{name}", description, boundaries, labels)


def count(name: str, amount: float, **labels: str) -> None:
    if amount > 0:  # Ray refuses to add 0
        _metric(name).inc(amount, labels)


def unit_done(study: str, step: Step, record: Json) -> None:
    """Count one unit of work, from its record."""
    labels = labels_of(study, step)
    _metric("unit_seconds").observe(record["ended"] - record["started"], labels)
    _metric("commit_seconds").observe(record["commit_seconds"], labels)
    for name, amount, more in stage_of(step.kind).counts(record):
        count(name, amount, **labels, **more)


def labels_of(study: str, step: Step) -> dict[str, str]:
    """family: that of the model at work; "" for steps on all families, such as the matrix and the report."""
    return {"study": study, "stage": step.kind, "family": step.family}


def trained(study: str, step: Step, entry: Mapping[str, float]) -> None:
    """Report one optimiser step, from its entry of schemas.TRAINING_LOG."""
    labels = labels_of(study, step)
    gauge("training_loss", entry["loss"], **labels)
    count("training_tokens", entry["tokens"], **labels)


def gauge(name: str, value: float, **labels: str) -> None:
    _metric(name).set(value, labels)
