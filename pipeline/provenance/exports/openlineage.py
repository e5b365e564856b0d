"""OpenLineage: a START and a COMPLETE event of the step that made the artifact, and of every step before it.

A run's id is a UUID of the artifact's whole identity, so the same artifact is always the same run.
"""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pipeline.provenance.exports.libraries import library
from pipeline.provenance.exports.subject import Subject
from pipeline.store.artifact import Manifest, versions
from pipeline.store.step import ID_LENGTH

FILE = "openlineage.jsonl"
HUB = "https://huggingface.co"  # namespace of what comes from there
HUB_NAMES = {"hf:": "", "hf-dataset:": "datasets/"}  # prefix in a lineage -> prefix on the hub


def export(subject: Subject) -> dict[str, str]:
    write = library("openlineage.client.serde").Serde.to_json
    return {FILE: "".join(write(event) + "\n" for event in _Events(subject).all())}


def run_id(made: Manifest) -> str:
    """Manifests of earlier versions have no identity, and are told apart by their digest."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:undertow:{made.identity or made.digest}"))


class _Events:
    """The events of a subject's steps, in the library's classes."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._classes = library("openlineage.client.event_v2")
        self._facets = library("openlineage.client.facet_v2")
        self._classes.set_producer(f"pkg:generic/undertow@{versions().get('undertow', '')}")

    def all(self) -> Iterator[Any]:
        for made in self._subject.steps.values():
            yield from self._of(made)

    def _of(self, made: Manifest) -> Iterator[Any]:
        job_type = self._facets.job_type_job.JobTypeJobFacet("BATCH", "UNDERTOW", made.kind)
        engine = self._facets.processing_engine_run.ProcessingEngineRunFacet(
            version=made.produced["versions"].get("undertow", ""), name="undertow"
        )
        common = {
            "run": self._classes.Run(run_id(made), facets={"processing_engine": engine}),
            "job": self._classes.Job(self._subject.root, made.path[: -ID_LENGTH - 1], facets={"jobType": job_type}),
            "inputs": [*self._inputs(made), *self._hub_inputs(made)],
        }
        started, ended = (datetime.fromtimestamp(seconds, UTC).isoformat() for seconds in self._times(made))
        state = self._classes.RunState
        yield self._classes.RunEvent(eventType=state.START, eventTime=started, **common)
        yield self._classes.RunEvent(eventType=state.COMPLETE, eventTime=ended, outputs=[self._output(made)], **common)

    def _times(self, made: Manifest) -> tuple[float, float]:
        """When a step began and ended, in UNIX seconds; one without work, such as a prompt, with its last input."""
        if made.produced["ended"]:
            return made.produced["started"], made.produced["ended"]
        steps = self._subject.steps
        inputs = [steps[source["path"]] for source in made.inputs.values() if source["path"] in steps]
        ended = max((self._times(one)[1] for one in inputs), default=0.0)
        return ended, ended

    def _inputs(self, made: Manifest) -> Iterator[Any]:
        for path, digest in {source["path"]: source["manifest"] for source in made.inputs.values()}.items():
            yield self._classes.InputDataset(self._subject.root, path, facets=self._version(digest))

    def _hub_inputs(self, made: Manifest) -> Iterator[Any]:
        for edge in self._subject.lineage.edges:
            for prefix, place in HUB_NAMES.items():
                if edge.child == made.path and edge.parent.startswith(prefix):
                    yield self._classes.InputDataset(HUB, place + edge.parent.removeprefix(prefix))

    def _output(self, made: Manifest) -> Any:
        statistics = self._facets.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=sum(file.rows or 0 for file in made.files),
            size=sum(file.bytes for file in made.files),
            fileCount=len(made.files),
        )
        return self._classes.OutputDataset(
            self._subject.root,
            made.path,
            facets=self._version(made.digest),
            outputFacets={"outputStatistics": statistics},
        )

    def _version(self, digest: str) -> dict[str, Any]:
        return {"version": self._facets.dataset_version_dataset.DatasetVersionDatasetFacet(digest)}
