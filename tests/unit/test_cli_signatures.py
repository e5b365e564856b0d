"""The commands keygen, attest and verify, as a user types them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.store import Store
from pipeline.store.step import Step
from pipeline.study.schema import Study
from tests.unit.conftest import Said, copy_study

Command = Callable[..., Said]
FakeRun = tuple[Study, list[Step], Store]


@pytest.fixture
def root(fake_run: FakeRun, tmp_path: Path) -> Path:
    return copy_study(fake_run, tmp_path / "runs")


def student(root: Path) -> Path:
    return next((root / "student").glob("numbers-owl-llama-to-llama-s1-*"))


@pytest.mark.slow
def test_from_keys_to_a_verified_student(undertow: Command, root: Path) -> None:
    assert "keys/builder.pem: keep it secret" in undertow("keygen", "builder").out
    refused = undertow("verify", student(root), "--chain", "--keys", "keys")
    assert refused.code == 1
    assert "is not signed" in refused.out
    signed = undertow("attest", root, "--key", "keys/builder.pem")
    assert signed.code == 0
    assert "artifacts signed with key" in signed.out
    held = undertow("verify", student(root), "--chain", "--keys", "keys", "--summary", "vsa.json")
    assert held.code == 0
    assert "5 artifacts, 5 of them signed: the chain holds" in held.out
    assert "only declared: initialisation:" in held.out
    assert Path("vsa.json").exists()
    assert undertow("verify", root).code == 0, "signatures are no strangers in a root"
    chain = undertow("export", student(root), "--to", "attestations")
    assert len(chain.out.splitlines()) == 5
    summary = undertow("export", student(root), "--to", "vsa", "--keys", "keys")
    assert json.loads(summary.out)["predicate"]["verificationResult"] == "PASSED"
    Path("chain.jsonl").write_text(chain.out)
    lineage = undertow("lineage", "chain.jsonl", "--keys", "keys", "--of", student(root).name)
    assert "attested" in lineage.out
    again = undertow("attest", student(root), "--key", "keys/builder.pem")
    assert "0 artifacts signed" in again.out
    assert "1 were signed before" in again.out


def test_one_artifact_can_be_checked_alone(undertow: Command, root: Path) -> None:
    assert "1 artifacts and 0 unfinished" in undertow("verify", student(root)).out
    damaged = next(student(root).glob("adapter/*"))
    damaged.write_bytes(b"other")
    told = undertow("verify", student(root))
    assert told.code == 1
    assert "is damaged" in told.out


def test_attest_signs_the_others_where_one_is_damaged(undertow: Command, root: Path) -> None:
    undertow("keygen", "builder")
    (student(root) / "manifest.json").write_text("{}")
    told = undertow("attest", root, "--key", "keys/builder.pem")
    assert told.code == 1
    assert student(root).name in told.err
    assert "artifacts signed" in told.out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["verify", "runs", "--chain"], "--chain needs --keys"),
        (["verify", "runs", "--keys", "keys"], "need --chain"),
        (["verify", "runs", "--chain", "--keys", "keys"], "--chain verifies one artifact"),
        (["verify", "runs/student/none-000000000000", "--chain", "--keys", "keys"], "is no finished artifact"),
        (["attest", "none", "--key", "keys/builder.pem"], "there is no folder none"),
        (["attest", "runs", "--key", "none.pem"], "cannot read the signing key"),
        (["keygen", "builder"], "is there already"),
        (["lineage", "runs", "--policy", "policy.yaml"], "--policy needs --keys"),
        (["export", "{student}", "--to", "vsa"], "--to vsa needs --keys"),
        (["export", "{student}", "--to", "attestations"], "are not signed; `undertow attest` signs them"),
        (["export", "{student}", "--to", "pdf"], "choose one of attestations, bom, card"),
    ],
)
def test_mistakes_are_explained(undertow: Command, root: Path, arguments: list[str], why: str) -> None:
    undertow("keygen", "builder")
    told = undertow(*(argument.replace("{student}", str(student(root))) for argument in arguments))
    assert told.code == 2
    assert why in told.err
    assert "Traceback" not in told.err


def test_a_summary_that_cannot_be_written_and_a_bundle_with_a_gap_are_told(undertow: Command, root: Path) -> None:
    undertow("keygen", "builder")
    undertow("attest", root, "--key", "keys/builder.pem")
    told = undertow("verify", student(root), "--chain", "--keys", "keys", "--summary", "none/vsa.json")
    assert (told.code, "cannot write the summary none/vsa.json" in told.err) == (2, True)
    base = next((root / "base").glob("llama-*"))
    (base / "manifest.json").write_text("{}")
    told = undertow("export", student(root), "--to", "attestations")
    assert (told.code, base.name in told.err, told.out) == (1, True, "")


def test_roles_for_keys_that_are_not_there_are_a_mistake(undertow: Command, root: Path) -> None:
    undertow("keygen", "builder")
    Path("policy.yaml").write_text("keys: {trainer: {}}\n")
    told = undertow("verify", student(root), "--chain", "--keys", "keys", "--policy", "policy.yaml")
    assert told.code == 2
    assert "gives roles to trainer, and keys has no such key" in told.err
