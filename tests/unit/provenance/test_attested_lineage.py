"""The lineage that signed statements tell."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.commands.attest import bundle_of
from pipeline.core.lineage_graph import Graph
from pipeline.provenance.attestation.keys import load_public_keys
from pipeline.provenance.attestation.lineage import graph_of
from pipeline.provenance.attestation.policy import KeyRole, Policy, Trust
from pipeline.provenance.family import audit
from pipeline.provenance.manifests import read_root
from pipeline.stages import lineage_of
from pipeline.store import open_store
from tests.signed import CHAIN, ROLES, STUDENT, path_of, reseal
from tests.unit.conftest import Said


def lineage_of_bundle(root: Path, keys: Path, policy: Policy = ROLES) -> Graph:
    contents = bundle_of(open_store(root), path_of(root, "student", STUDENT)).splitlines()
    return graph_of(contents, "chain.jsonl", Trust(load_public_keys(keys), policy))


def test_a_bundle_tells_the_same_lineage_as_the_manifests_and_calls_it_attested(signed_copy: Path, keys: Path) -> None:
    student = path_of(signed_copy, "student", STUDENT)
    measured = read_root(open_store(signed_copy), lineage_of)
    attested = lineage_of_bundle(signed_copy, keys)
    assert attested.problems == []
    assert {edge.evidence for edge in attested.edges} == {"attested"}
    assert {(edge.child, edge.relation, edge.parent, edge.share) for edge in attested.edges} == {
        (edge.child, edge.relation, edge.parent, edge.share)
        for edge in measured.edges
        if edge.child in {student, *(one.node.id for one in measured.ancestors(student))}
    }
    assert {name: node.kind for name, node in attested.nodes.items()} == {
        name: measured.nodes[name].kind for name in attested.nodes
    }
    assert audit(attested, [student])[0].finding == "not exposed by evidence"


def test_statements_that_do_not_count_leave_the_lineage_open(signed_copy: Path, keys: Path) -> None:
    student = path_of(signed_copy, "student", STUDENT)
    only_trainer = Policy(keys={"trainer": KeyRole()})
    graph = lineage_of_bundle(signed_copy, keys, only_trainer)
    assert len(graph.problems) == len(CHAIN), "two bases, no student"
    assert audit(graph, [student])[0].finding == "unknown"


def test_a_bundle_and_a_signed_copy_that_disagree_are_told(signed_copy: Path, keys: Path) -> None:
    graph = lineage_of_bundle(signed_copy, keys)
    corpus = path_of(signed_copy, "corpus", "numbers-owl-llama")
    reseal(signed_copy, corpus, lambda fields: fields["results"].update(rows=7))
    graph.merge(read_root(open_store(signed_copy), lineage_of))
    assert f"{corpus} is not the same in two sources: its manifests differ" in graph.problems


@pytest.fixture
def delivery(signed_copy: Path, keys: Path, tmp_path: Path) -> Path:
    """A bundle and the audit file of somebody who has nothing else but the public keys."""
    content = bundle_of(open_store(signed_copy), path_of(signed_copy, "student", STUDENT))
    (tmp_path / "chain.jsonl").write_bytes(content)
    (tmp_path / "policy.yaml").write_text("keys: {builder: {}, trainer: {kinds: [student]}}\n")
    fields = {"audit": "delivery", "sources": ["chain.jsonl"], "students": [STUDENT], "keys": str(keys)}
    (tmp_path / "audit.yaml").write_text(json.dumps(fields | {"key_policy": "policy.yaml"}))
    (tmp_path / "keyless.yaml").write_text(json.dumps(fields | {"keys": None}))
    return tmp_path


def test_an_audit_of_a_bundle_rests_on_its_signatures(
    delivery: Path, undertow: Callable[..., Said], keys: Path
) -> None:
    passed = undertow("audit", delivery / "audit.yaml", "--out", "found")
    (finding,) = json.loads(Path("found/audit.json").read_text())["findings"]
    assert (passed.code, finding["finding"]) == (0, "not exposed by evidence")
    assert [one["evidence"] for one in finding["exposures"]] == ["attested"]
    (delivery / "policy.yaml").write_text("keys: {builder: {}, trainer: {kinds: [answers]}}\n")
    failed = undertow("audit", delivery / "audit.yaml")
    assert failed.code != 0
    assert "may sign answers, and not a student" in failed.out + failed.err
    keyless = undertow("audit", delivery / "keyless.yaml")
    assert (keyless.code, "name the public keys" in keyless.err.replace("\n", " ")) == (2, True)


def test_an_audit_of_one_artifact_is_about_that_model_alone(signed_copy: Path, undertow: Callable[..., Said]) -> None:
    said = undertow("audit", "family", signed_copy / path_of(signed_copy, "student", STUDENT))
    assert "1 audited, 0 failed" in said.out
