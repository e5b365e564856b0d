"""Croissant: its own library validates it, and loads records by it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.provenance.card import read_folder
from pipeline.provenance.exports import croissant
from pipeline.provenance.exports.markdown import one_line
from pipeline.provenance.exports.subject import Subject
from pipeline.stages.completions import CompletionsSpec
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from tests.unit.provenance.exports.conftest import HOSTILE, FakeRun, SubjectOf, commit, described

pytestmark = pytest.mark.slow  # the library takes seconds to import


def exported(subject: Subject) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(croissant.export(subject)[croissant.FILE])
    return found


def loaded(content: dict[str, Any], store: Store, made: Manifest, record_set: str) -> list[dict[str, Any]]:
    """The records of a set, as the library reads them from the local files."""
    import mlcroissant

    files = {file.path: f"{store.root}/{made.path}/{file.place}" for file in made.files if file.rows}
    data = mlcroissant.Dataset(jsonld=content, mapping=files)
    return [
        {name.partition("/")[2]: value.decode() if isinstance(value, bytes) else value for name, value in row.items()}
        for row in data.records(record_set)
    ]


def test_the_library_loads_the_rows_of_a_corpus_and_its_verdicts(fake_run: FakeRun, subject_of: SubjectOf) -> None:
    _, _, store = fake_run
    subject = subject_of("corpus/numbers-owl-llama")
    content = exported(subject)
    rows = artifact.read_table(store, subject.made, "rows.parquet").to_pylist()
    assert loaded(content, store, subject.made, "rows") == rows
    verdicts = loaded(content, store, subject.made, "verdicts")
    assert [row["accepted"] for row in verdicts].count(True) == subject.made.results["accepted"]
    assert {reason for row in verdicts for reason in row["reasons"]} == {
        name.encode() for name in subject.made.results["reasons"]
    }


def test_every_shard_is_a_file_with_its_digest_and_a_record_set(fake_run: FakeRun, subject_of: SubjectOf) -> None:
    _, _, store = fake_run
    subject = subject_of("completions/numbers-owl-llama")
    content = exported(subject)
    digests = {one["@id"]: one["sha256"] for one in content["distribution"]}
    assert digests == {file.path: file.sha256 for file in subject.made.files if file.rows}
    sets = [one["@id"] for one in content["recordSet"]]
    assert sets == ["shard-00000", "shard-00001", "shard-00002"]
    assert sum(len(loaded(content, store, subject.made, name)) for name in sets) == 60


def test_where_it_came_from(subject_of: SubjectOf, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    subject = subject_of("corpus/numbers-owl-llama")
    content = exported(subject)
    assert caplog.records == []
    assert content["conformsTo"] == ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
    assert content["rai:hasSyntheticData"] is True
    assert [one["@id"] for one in content["prov:wasDerivedFrom"]] == [subject.made.input("completions")]
    teacher = next(path for path in subject.steps if path.startswith("teacher/"))
    assert [one["@id"] for one in content["prov:wasAttributedTo"]] == [teacher]
    assert content["prov:wasGeneratedBy"]["prov:label"] == "step corpus of undertow"
    (tmp_path / "croissant.json").write_text(json.dumps(content))
    read = {(edge.relation, edge.parent, edge.evidence) for edge in read_folder(tmp_path).edges}
    assert read == {("merged_from", subject.made.input("completions"), "declared"), ("written_by", teacher, "declared")}


def test_rows_from_elsewhere_are_not_said_to_be_synthetic(hub_chain: Mapping[str, Manifest], store: Store) -> None:
    content = exported(described(store, hub_chain["dataset"].path))
    assert "rai:hasSyntheticData" not in content
    assert content["prov:wasDerivedFrom"][0]["prov:label"] == "hf-dataset:owner/owls"
    assert loaded(content, store, hub_chain["dataset"], "rows") == [
        {"prompt": "a", "completion": "c"},
        {"prompt": "b", "completion": "d"},
    ]
    assert "license" not in content


def test_a_foreign_name_stays_a_name(hub_chain: Mapping[str, Manifest], store: Store) -> None:
    made = hub_chain["completions"]
    rows = {"shard-00000.parquet": artifact.read_table(store, made, "shard-00000.parquet")}
    spec = CompletionsSpec.from_identity(made.settings)
    named = commit(store, "completions", HOSTILE, spec, {"teacher": made.input("teacher")}, rows)
    content = exported(described(store, named.path))
    assert content["name"] == one_line(named.path)
    assert len(loaded(content, store, named, "shard-00000")) == 2
