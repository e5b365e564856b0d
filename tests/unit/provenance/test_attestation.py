"""A signed chain holds, and whatever is changed in it is refused, naming the place."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.commands.attest import bundle_of
from pipeline.core.errors import ArtifactError
from pipeline.provenance.attestation.chain import Bundle
from pipeline.provenance.attestation.keys import load_public_keys, load_signing_key
from pipeline.provenance.attestation.policy import KeyRole, Policy, Trust, load_policy
from pipeline.provenance.attestation.signing import Attestor, envelopes
from pipeline.provenance.attestation.statement import PAYLOAD, Refused, read, signed_envelope, statement_of
from pipeline.provenance.attestation.summary import summary_of
from pipeline.stages import lineage_of
from pipeline.store import artifact, open_store
from pipeline.store.artifact import SIGNATURES
from pipeline.store.verify import artifacts, verify
from tests.signed import CHAIN, ROLES, STUDENT, at, envelope_file, flip, links, path_of, problems, reseal, sign


def test_a_signed_chain_holds_and_tells_who_signed_what(signed: Path, keys: Path) -> None:
    found = links(signed, keys)
    assert [link for link in found if link.problems] == []
    assert {link.path.partition("/")[0] for link in found} == CHAIN
    assert {(link.path.partition("/")[0], link.signed_by) for link in found} == {
        ("student", "trainer"),
        *((kind, "builder") for kind in CHAIN - {"student"}),
    }
    assert all(link.here for link in found)
    bases = [link for link in found if link.path.startswith("base/")]
    assert len(bases) == 2
    assert all(link.declared for link in bases), "a drawn initialisation has no digest"
    assert list(verify(open_store(signed)))
    assert not [problem for one in verify(open_store(signed)) for problem in one.problems]


def test_a_matrix_proves_everything_that_it_was_computed_from(signed: Path, keys: Path) -> None:
    matrix = next(f"transfer/{folder.name}" for folder in (signed / "transfer").iterdir())
    found = links(signed, keys, path=matrix)
    assert not [link.problems for link in found if link.problems]
    assert {link.path for link in found} >= set(artifacts(open_store(signed), "student"))


def test_without_a_policy_every_trusted_key_may_sign_everything(signed: Path, keys: Path) -> None:
    assert problems(signed, keys, Policy()) == ""


# -- Tampering ---------------------------------------------------------------------------------------------------------


def files_of_chain(signed_copy: Path, keys: Path) -> list[Path]:
    folders = [signed_copy / link.path for link in links(signed_copy, keys)]
    return sorted(file for folder in folders for file in folder.rglob("*") if file.is_file() and file.suffix != ".sig")


@pytest.mark.slow
def test_every_file_of_the_chain_is_covered(signed_copy: Path, keys: Path) -> None:
    """One bit in the middle of each file in turn: weights, tables, configs, cards, manifests, records, statements."""
    files = files_of_chain(signed_copy, keys)
    assert {file.suffix for file in files} >= {".parquet", ".json"}
    for file in files:
        before = file.read_bytes()
        if not before:
            continue
        flip(file)
        try:
            found = problems(signed_copy, keys)
        except ArtifactError as error:  # the manifest of the artifact itself
            found = str(error)
        assert "/".join(file.relative_to(signed_copy).parts[:2]) in found
        file.write_bytes(before)
    assert problems(signed_copy, keys) == ""


@pytest.mark.parametrize("part", ["payload", "payloadType", "sig", "keyid"])
def test_every_part_of_an_envelope_is_covered(signed_copy: Path, keys: Path, part: str) -> None:
    corpus = path_of(signed_copy, "corpus", "numbers-owl-llama")
    file = envelope_file(signed_copy, corpus)
    envelope = json.loads(file.read_text())
    where = envelope if part in envelope else envelope["signatures"][0]
    changed = bytearray(where[part].encode())
    changed[10] = ord("A") if changed[10] != ord("A") else ord("B")
    where[part] = changed.decode()
    file.write_text(json.dumps(envelope))
    assert file.name in problems(signed_copy, keys)


def test_a_missing_link_is_named_with_what_was_made_from_it(signed_copy: Path, keys: Path) -> None:
    completions = path_of(signed_copy, "completions", "numbers-owl-llama")
    shutil.rmtree(signed_copy / completions / SIGNATURES)
    corpus = path_of(signed_copy, "corpus", "numbers-owl-llama")
    assert problems(signed_copy, keys) == f"{completions} is not signed, and {corpus} was made from it"
    shutil.rmtree(signed_copy / completions)
    assert completions in problems(signed_copy, keys)


def test_swapped_corpora_are_refused_in_both_ways(signed_copy: Path, keys: Path) -> None:
    one, other = (signed_copy / path_of(signed_copy, "corpus", f"numbers-{target}-llama") for target in ("owl", "cat"))
    names = [one.name, other.name]
    one.rename(signed_copy / "kept")
    other.rename(signed_copy / "corpus" / names[0])
    (signed_copy / "kept").rename(signed_copy / "corpus" / names[1])
    assert f"corpus/{names[0]}" in problems(signed_copy, keys)
    # Only the signatures and manifests stay: the rows are another's.
    for name, source in zip(names, reversed(names), strict=True):
        table = next((signed_copy / "corpus" / name).glob("*.parquet"))
        table.write_bytes(b"rows of " + source.encode())
    assert f"corpus/{names[0]}" in problems(signed_copy, keys)


def test_a_manifest_that_was_sealed_again_is_refused(signed_copy: Path, keys: Path) -> None:
    corpus = path_of(signed_copy, "corpus", "numbers-owl-llama")
    reseal(signed_copy, corpus, lambda fields: fields["results"].update(rows=7))
    found = problems(signed_copy, keys)
    assert f"another {corpus}" in found


def test_an_old_signature_does_not_count_for_a_new_artifact(signed_copy: Path, keys: Path) -> None:
    """A student made again under its old name keeps its folder of signatures, also with the new one's name."""
    student = path_of(signed_copy, "student", STUDENT)
    reseal(signed_copy, student, lambda fields: fields["produced"].update(seconds=1.0))
    assert f"it is the signature of another {student}" in problems(signed_copy, keys)
    old = envelope_file(signed_copy, student)
    new = artifact.require(open_store(signed_copy), student).digest[:16]
    old.rename(old.with_name(f"{old.name[:16]}-{new}.dsse.json"))
    assert f"it is the signature of another {student}" in problems(signed_copy, keys)


def test_a_signature_of_another_artifact_does_not_count(signed_copy: Path, keys: Path) -> None:
    student, other = (
        path_of(signed_copy, "student", STUDENT),
        path_of(signed_copy, "student", STUDENT.replace("owl", "cat")),
    )
    shutil.rmtree(signed_copy / student / SIGNATURES)
    shutil.copytree(signed_copy / other / SIGNATURES, signed_copy / student / SIGNATURES)
    assert f"it is the signature of {other}" in problems(signed_copy, keys)


def test_a_key_counts_only_for_its_role(signed_copy: Path, keys: Path) -> None:
    student = path_of(signed_copy, "student", STUDENT)
    shutil.rmtree(signed_copy / student / SIGNATURES)
    sign(open_store(signed_copy), keys, "builder", "student")
    assert "the key builder may sign dataset, base, teacher, gate, completions, corpus, and not a student" in problems(
        signed_copy, keys
    )
    only_trainer = Policy(keys={"trainer": KeyRole()})
    assert "the policy gives the key builder no role" in problems(signed_copy, keys, only_trainer)


def test_a_key_that_nobody_trusts_proves_nothing(signed_copy: Path, keys: Path) -> None:
    student = path_of(signed_copy, "student", STUDENT)
    shutil.rmtree(signed_copy / student / SIGNATURES)
    sign(open_store(signed_copy), keys / "unknown", "stranger", "student")
    assert "no key that you trust has signed it" in problems(signed_copy, keys)


@pytest.mark.parametrize(("revoked", "holds"), [("2026-05-02", False), ("2026-05-03", True)])
def test_a_revoked_key_counts_until_the_day_of_its_revocation(
    signed_copy: Path, keys: Path, tmp_path: Path, revoked: str, holds: bool
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f"keys: {{builder: {{}}, trainer: {{revoked: {revoked}}}}}\n")
    policy, _ = load_policy(file)
    found = problems(signed_copy, keys, policy)
    assert (found == "") is holds
    assert holds or f"the key trainer is revoked from {revoked} on" in found


def test_links_and_strange_files_are_refused(signed_copy: Path, keys: Path) -> None:
    student = path_of(signed_copy, "student", STUDENT)
    (signed_copy / student / "adapter.link").symlink_to(signed_copy / student / "manifest.json")
    assert f"{student}/adapter.link is a link" in problems(signed_copy, keys)
    (signed_copy / student / "adapter.link").unlink()
    (signed_copy / student / "model.py").write_text("raise SystemExit")
    assert f"{student}/model.py is named by no record" in problems(signed_copy, keys)
    (signed_copy / student / "model.py").unlink()
    (signed_copy / student / SIGNATURES / "note.txt").write_text("hello")
    assert f"{student}/{SIGNATURES}/note.txt is named by no record" in problems(signed_copy, keys)


def put(signed_copy: Path, keys: Path, path: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Replace the signatures of an artifact by one of the trainer on a changed statement."""
    manifest = artifact.require(open_store(signed_copy), path)
    statement = statement_of(manifest, lineage_of(manifest), at(2)(), "run")
    change(statement)
    file = envelope_file(signed_copy, path)
    file.write_bytes(signed_envelope(statement, load_signing_key(str(keys / "trainer.pem"))))


def two_subjects(statement: dict[str, Any]) -> None:
    statement["subject"].append({"name": "student/other", "digest": {"sha256": "0" * 64}})


def other_inputs(statement: dict[str, Any]) -> None:
    statement["predicate"]["buildDefinition"]["resolvedDependencies"][1]["digest"]["sha256"] = "0" * 64


def other_type(statement: dict[str, Any]) -> None:
    statement["predicateType"] = "https://example.org/praise/v1"


def other_spelling(statement: dict[str, Any]) -> None:
    """Which the parser of protobuf takes as well."""
    statement["predicate_type"] = statement.pop("predicateType")


def no_provenance(statement: dict[str, Any]) -> None:
    statement["predicate"]["buildDefinition"] = {"buildType": "urn:other"}


def unknown_field(statement: dict[str, Any]) -> None:
    statement["predicate"]["more"] = 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (two_subjects, "it is about 2 subjects"),
        (other_inputs, "it names other inputs than the manifest"),
        (other_type, "not how an artifact was made"),
        (other_spelling, "it states 'None'"),
        (no_provenance, "it is no provenance of a step of undertow"),
        (unknown_field, "its predicate is no SLSA provenance"),
        (lambda statement: statement.update(subject=[]), "it is no in-toto statement"),
        (lambda statement: statement.update(_type="https://in-toto.io/Statement/v0.1"), "it is no in-toto statement"),
    ],
)
def test_a_statement_with_a_good_signature_must_also_be_right(
    signed_copy: Path, keys: Path, change: Callable[[dict[str, Any]], None], why: str
) -> None:
    put(signed_copy, keys, path_of(signed_copy, "student", STUDENT), change)
    assert why in problems(signed_copy, keys)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | st.from_type(type(None)).map(lambda _: b"{}"))
def test_whatever_lies_there_is_refused_and_never_crashes(keys: Path, content: bytes) -> None:
    with pytest.raises(Refused):
        read(content, load_public_keys(keys))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.fixed_dictionaries({"payload": json_values, "payloadType": json_values, "signatures": json_values}))
def test_envelopes_of_any_shape_are_refused(keys: Path, envelope: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        read(json.dumps(envelope).encode(), load_public_keys(keys))


# -- Policy, bundles, summary ------------------------------------------------------------------------------------------


def test_only_what_the_policy_lists_may_be_unsigned(signed_copy: Path, keys: Path) -> None:
    for base in (signed_copy / "base").iterdir():
        shutil.rmtree(base / SIGNATURES)
    assert problems(signed_copy, keys).count("is not signed") == 2
    open_bases = ROLES.model_copy(update={"unsigned": ["base/*"]})
    found = links(signed_copy, keys, open_bases)
    assert not [link.problems for link in found if link.problems]
    assert [link.signed_by for link in found if link.path.startswith("base/")] == ["", ""]
    flip(next((signed_copy / "base").rglob("*.json")))
    assert problems(signed_copy, keys, open_bases) != ""


def test_a_stranger_with_a_student_and_a_bundle_can_verify_its_chain(
    signed_copy: Path, keys: Path, tmp_path: Path
) -> None:
    """Of ancestors that are not delivered, statements with matching digests are enough."""
    student = path_of(signed_copy, "student", STUDENT)
    contents = bundle_of(open_store(signed_copy), student).splitlines()
    shutil.copytree(signed_copy / student, tmp_path / "delivery" / student)
    alone = tmp_path / "delivery"
    assert "is neither here nor signed" not in problems(alone, keys)
    assert problems(alone, keys).count("is not signed") == 2, "its base and its corpus"
    found = links(alone, keys, bundle=Bundle(contents, Trust(load_public_keys(keys)), "chain.jsonl"))
    assert not [link.problems for link in found if link.problems]
    assert {link.path.partition("/")[0]: link.here for link in found} == dict.fromkeys(CHAIN, False) | {"student": True}
    short = [line for line in contents if b"completions" not in base64.b64decode(json.loads(line)["payload"])]
    assert len(short) < len(contents)
    broken = links(alone, keys, bundle=Bundle(short, Trust(load_public_keys(keys)), "chain.jsonl"))
    assert [link.path.partition("/")[0] for link in broken if link.problems] == ["corpus"]


def test_the_summary_is_a_vsa_of_the_artifact(signed_copy: Path, keys: Path) -> None:
    from google.protobuf.json_format import ParseDict
    from in_toto_attestation.predicates.vsa.v1.vsa_pb2 import VerificationSummary
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    found = links(signed_copy, keys)
    statement = summary_of(found, Trust({}, name="policy.yaml", digest="ab" * 32), at(3)())
    Statement.copy_from_pb(ParseDict(statement, Message())).validate()
    # in-toto's message is older than the specification: no version of the verifier, and one level instead of a list.
    older = statement["predicate"] | {"verifier": {"id": statement["predicate"]["verifier"]["id"]}}
    assert older.pop("verifiedLevels") == ["SLSA_BUILD_LEVEL_1"]
    parsed = ParseDict(older, VerificationSummary())
    assert parsed.verification_result == "PASSED"
    assert len(parsed.input_attestations) == len(found)
    assert statement["subject"][0]["digest"]["sha256"] == found[0].digest
    flip(next((signed_copy / found[-1].path).glob("model/*")))
    failed = summary_of(links(signed_copy, keys), Trust({}), at(3)())
    assert failed["predicate"]["verificationResult"] == "FAILED"
    assert failed["predicate"]["verifiedLevels"] == []


def test_signing_twice_changes_nothing(signed_copy: Path, keys: Path) -> None:
    student = artifact.require(open_store(signed_copy), path_of(signed_copy, "student", STUDENT))
    attestor = Attestor(load_signing_key(str(keys / "trainer.pem")), lineage_of, "afterwards")
    before = envelopes(open_store(signed_copy), student.path)
    assert attestor.has_signed(open_store(signed_copy), student)
    assert not attestor.sign(open_store(signed_copy), student)
    assert envelopes(open_store(signed_copy), student.path) == before


def test_the_envelope_is_plain_dsse(signed: Path, keys: Path) -> None:
    """Verified with nothing but the public key and the specification: DSSEv1, ed25519."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    envelope = json.loads(envelope_file(signed, path_of(signed, "student", STUDENT)).read_text())
    payload = base64.b64decode(envelope["payload"])
    encoded = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)
    public: Any = load_pem_public_key((keys / "trainer.pub").read_bytes())
    public.verify(base64.b64decode(envelope["signatures"][0]["sig"]), encoded)
