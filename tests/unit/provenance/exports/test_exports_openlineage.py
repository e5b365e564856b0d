"""OpenLineage events: the library's classes accept them again, and every step has its pair."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attr
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState

from pipeline.provenance.exports import openlineage
from pipeline.provenance.exports.subject import Subject
from pipeline.store import Store
from pipeline.store.artifact import Manifest
from tests.unit.provenance.exports.conftest import SubjectOf, described

STUDENT = "student/numbers-owl-llama-to-qwen-s1"


def exported(subject: Subject) -> list[dict[str, Any]]:
    lines = openlineage.export(subject)[openlineage.FILE].splitlines()
    return [json.loads(line) for line in lines]


def parsed(event: Mapping[str, Any]) -> RunEvent:
    """The event in the library's classes, which check ids, times and addresses."""
    return RunEvent(
        eventType=RunState(event["eventType"]),
        eventTime=event["eventTime"],
        producer=event["producer"],
        run=Run(**event["run"]),
        job=Job(**event["job"]),
        inputs=[InputDataset(**one) for one in event["inputs"]],
        outputs=[OutputDataset(**one) for one in event["outputs"]],
    )


def test_the_library_reads_every_event_back(subject_of: SubjectOf) -> None:
    for event in exported(subject_of(STUDENT)):
        assert attr.asdict(parsed(event), recurse=True)["run"]["runId"] == event["run"]["runId"]
        assert parsed(event).schemaURL == event["schemaURL"]


def test_each_step_has_a_pair_with_the_id_of_its_identity_and_its_times(subject_of: SubjectOf) -> None:
    subject = subject_of(STUDENT)
    events = exported(subject)
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"] * len(subject.steps)
    completed = {event["outputs"][0]["name"]: event for event in events if event["eventType"] == "COMPLETE"}
    assert completed.keys() == subject.steps.keys()
    for path, made in subject.steps.items():
        assert completed[path]["run"]["runId"] == str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:undertow:{made.identity}"))
    ended = datetime.fromtimestamp(subject.made.produced["ended"], UTC)
    assert datetime.fromisoformat(completed[subject.made.path]["eventTime"]) == ended


def test_a_step_reads_the_outputs_of_earlier_steps_by_version(subject_of: SubjectOf) -> None:
    subject = subject_of(STUDENT)
    last = exported(subject)[-1]
    assert last["job"] == last["job"] | {"namespace": subject.root, "name": STUDENT}
    versions = {one["name"]: one["facets"]["version"]["datasetVersion"] for one in last["inputs"]}
    assert versions == {source["path"]: source["manifest"] for source in subject.made.inputs.values()}
    assert {one["namespace"] for one in [*last["inputs"], *last["outputs"]]} == {subject.root}
    statistics = last["outputs"][0]["outputFacets"]["outputStatistics"]
    assert statistics["size"] == sum(file.bytes for file in subject.made.files)


def test_a_prompted_teacher_has_no_work_of_its_own_and_ends_with_its_base(subject_of: SubjectOf) -> None:
    subject = subject_of("teacher/owl-llama")
    assert subject.made.produced["ended"] == 0
    events = exported(subject)
    base = datetime.fromtimestamp(subject.steps[subject.made.input("base")].produced["ended"], UTC)
    assert {datetime.fromisoformat(event["eventTime"]) for event in events[-2:]} == {base}


def test_models_and_data_of_the_hub_are_inputs(hub_chain: Mapping[str, Manifest], store: Store) -> None:
    events = exported(described(store, hub_chain["student"].path))
    hub = {
        (event["job"]["name"], one["name"])
        for event in events
        for one in event["inputs"]
        if one["namespace"] == "https://huggingface.co"
    }
    assert hub == {("base/qwen", "owner/base-1b"), ("dataset/owls", "datasets/owner/owls")}


def test_any_kind_of_artifact_has_events(subject_of: SubjectOf) -> None:
    subject = subject_of("gate/owl-llama")
    assert exported(subject)[-1]["outputs"][0]["name"] == subject.made.path
