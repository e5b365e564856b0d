"""Keys and policies, as users give them."""

import io
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.provenance.attestation.keys import (
    SigningKey,
    _secret,
    generate,
    load_public_keys,
    load_signing_key,
)
from pipeline.provenance.attestation.policy import load_policy
from pipeline.provenance.attestation.statement import signed_envelope

# -- Keys --------------------------------------------------------------------------------------------------------------


def test_private_keys_are_for_their_owner_and_never_overwritten(tmp_path: Path) -> None:
    made = generate("ops", tmp_path / "keys")
    assert sorted(path.name for path in made) == ["ops.pem", "ops.pub", "ops.weights.pem", "ops.weights.pub"]
    assert {path.stat().st_mode & 0o077 for path in made if path.suffix == ".pem"} == {0}
    with pytest.raises(InputError, match=r"ops\.pem is there already"):
        generate("ops", tmp_path / "keys")
    assert set(load_public_keys(tmp_path / "keys")) == {"ops"}


@pytest.mark.parametrize("name", ["", "../ops", "a/b", "ops.weights"])
def test_names_that_lead_elsewhere_are_no_keys(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="no name for a key"):
        generate(name, tmp_path)


def test_a_variable_can_name_the_key(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERTOW_KEY", str(keys / "builder.pem"))
    assert load_signing_key("envvar:UNDERTOW_KEY").id == load_signing_key(str(keys / "builder.pem")).id
    monkeypatch.delenv("UNDERTOW_KEY")
    with pytest.raises(InputError, match="UNDERTOW_KEY names no signing key"):
        load_signing_key("envvar:UNDERTOW_KEY")


def test_unusable_keys_are_explained(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="undertow keygen"):
        load_signing_key(str(tmp_path / "none.pem"))
    with pytest.raises(InputError, match="no private key in PEM"):
        load_signing_key(str(keys / "builder.pub"))
    with pytest.raises(InputError, match="its public key"):
        load_signing_key("awskms:alias/undertow")
    with pytest.raises(InputError, match="cannot sign with awskms:alias/undertow"):
        load_signing_key("awskms:alias/undertow", str(keys / "builder.pub"))
    with pytest.raises(InputError, match="has no public key"):
        load_public_keys(tmp_path)
    (tmp_path / "bad.pub").write_text("no key")
    with pytest.raises(InputError, match=r"bad\.pub is no public key"):
        load_public_keys(tmp_path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("keys: {a: {kinds: [studnet]}}", "unknown kind of step studnet"),
        ("keys: [a]", "keys"),
        ("trust: all", "trust"),
        ("keys: {a: {revoked: soon}}", "revoked"),
        ("[", "cannot be read"),
    ],
)
def test_mistakes_in_a_policy_are_named(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(InputError, match=why):
        load_policy(tmp_path / "policy.yaml")


class Token:
    """A signer that wants a PIN, as those of PKCS#11 do."""

    class public_key:
        keyid = "ab" * 32

    def sign(self, payload: bytes) -> None:
        raise PermissionError if _secret("pin") != "1234" else AssertionError("signed")


@pytest.mark.parametrize(
    ("pin", "why"),
    [(None, "asks for its pin; set the environment variable UNDERTOW_SIGNING_PIN"), ("1111", "PermissionError")],
)
def test_what_a_token_refuses_is_told(monkeypatch: pytest.MonkeyPatch, pin: str | None, why: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.delenv("UNDERTOW_SIGNING_PIN", raising=False)
    if pin is not None:
        monkeypatch.setenv("UNDERTOW_SIGNING_PIN", pin)
    with pytest.raises(InputError, match=why):
        signed_envelope({}, SigningKey(Token()))  # type: ignore[arg-type]
