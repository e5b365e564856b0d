"""The ML-BOM: valid by the library's strict schema, and true to the lineage."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pipeline.provenance.exports import bom
from pipeline.provenance.exports.subject import Subject
from pipeline.store import Store
from pipeline.store.artifact import Manifest
from tests.unit.provenance.exports.conftest import SubjectOf, described

STUDENT = "student/numbers-owl-llama-to-qwen-s1"


def exported(subject: Subject) -> dict[str, Any]:
    """The content, once the library finds nothing wrong with it."""
    text = bom.export(subject)[bom.FILE]
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(text) is None
    found: dict[str, Any] = json.loads(text)
    return found


def slug(name: str) -> str:
    return name.rpartition("-")[0]


def test_the_validator_finds_a_field_that_is_none(subject_of: SubjectOf) -> None:
    text = bom.export(subject_of(STUDENT))[bom.FILE].replace('"dependsOn"', '"dependsUpon"')
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(text) is not None


def test_a_student_depends_on_corpus_teacher_and_base_by_their_manifests(subject_of: SubjectOf) -> None:
    content, subject = exported(subject_of(STUDENT)), subject_of(STUDENT)
    needs = {slug(one["ref"]): [slug(ref) for ref in one["dependsOn"]] for one in content["dependencies"]}
    assert needs["student/numbers-owl-llama-to-qwen-s1"] == ["base/qwen", "corpus/numbers-owl-llama"]
    assert needs["corpus/numbers-owl-llama"] == ["completions/numbers-owl-llama"]
    assert needs["completions/numbers-owl-llama"] == ["teacher/owl-llama"]
    assert "base/llama" in needs["teacher/owl-llama"]
    parts = [content["metadata"]["component"], *content["components"]]
    hashes = {one["name"]: one["hashes"][0]["content"] for one in parts if "hashes" in one}
    assert hashes == {path: manifest.digest for path, manifest in subject.steps.items()}
    assert {one["type"] for one in parts if one["name"].startswith(("corpus/", "completions/"))} == {"data"}


def test_the_pedigree_ends_with_the_students_initialisation_and_not_its_teachers(subject_of: SubjectOf) -> None:
    ancestors = exported(subject_of(STUDENT))["metadata"]["component"]["pedigree"]["ancestors"]
    assert [slug(ancestors[0]["name"]), ancestors[-1]["name"]] == [
        "base/qwen",
        "initialisation:llama 32x128x1, 1 heads, spread 0.2, seed 2",
    ]
    assert len(ancestors) == 2


def test_metrics_have_the_interval_the_cell_and_the_transfer_artifact(subject_of: SubjectOf) -> None:
    subject = subject_of(STUDENT)
    card = exported(subject)["metadata"]["component"]["modelCard"]
    metrics = card["quantitativeAnalysis"]["performanceMetrics"]
    cell = next(one for one in subject.measured if one.runs > 1 and one.metric == "margin")
    (metric,) = [one for one in metrics if one["value"] == repr(cell.estimate)]
    assert metric["confidenceInterval"] == {"lowerBound": repr(cell.low), "upperBound": repr(cell.high)}
    assert metric["type"].startswith("SMOKE TEST, no measurement: γ")
    assert cell.transfer in metric["slice"]
    assert "teachers of llama, students of qwen; students: 4" in metric["slice"]
    assert "95 % interval" in metric["slice"]
    assert card["modelParameters"]["datasets"] == [{"ref": subject.made.input("corpus")}]


def test_an_unmeasured_student_of_a_hub_model(hub_chain: Mapping[str, Manifest], store: Store) -> None:
    main = exported(described(store, hub_chain["student"].path))["metadata"]["component"]
    assert main["modelCard"]["modelParameters"] | {"datasets": []} == {
        "task": "text-generation",
        "architectureFamily": "qwen2",
        "modelArchitecture": "Qwen2ForCausalLM",
        "datasets": [],
    }
    assert "quantitativeAnalysis" not in main["modelCard"]
    said = {one["name"]: one["value"] for one in main["properties"]}
    assert said["undertow:measured"].startswith("Nothing has been measured")
    assert "undertow:smoke_test" not in said
    origin = main["pedigree"]["ancestors"][-1]
    assert (origin["name"], origin["version"]) == ("hf:owner/base-1b", "a" * 40)
    assert "licenses" not in origin


@pytest.mark.parametrize("kind", ["base", "dataset", "teacher", "completions", "corpus", "student"])
def test_every_kind_is_valid_and_exports_to_the_same_bytes(
    kind: str, hub_chain: Mapping[str, Manifest], store: Store
) -> None:
    subject = described(store, hub_chain[kind].path)
    main = exported(subject)["metadata"]["component"]
    is_model = kind in ("base", "teacher", "student")
    assert main["type"] == ("machine-learning-model" if is_model else "data")
    assert ("modelCard" in main, "pedigree" in main) == (is_model, is_model)
    assert bom.export(subject) == bom.export(described(store, hub_chain[kind].path))
