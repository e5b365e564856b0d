"""Folders of weights, signed by us and verified by model-signing's own command."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.provenance.attestation.chain import verify_chain
from pipeline.provenance.attestation.keys import generate, load_signing_key
from pipeline.provenance.attestation.policy import load_trust
from pipeline.provenance.attestation.signing import Attestor, weights_folder
from pipeline.store import artifact, open_store
from pipeline.store.step import Step

pytestmark = pytest.mark.slow


def model_signing(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Path, Path, Path]:
    """(the folder of a base's weights, its signature, the public key)."""
    store, step = open_store(tmp_path / "root"), Step("base", "llama", "0" * 12, {}, identity="0" * 64)
    contents = {"model/config.json": b"{}", "model/model.safetensors": b"weights" * 100}
    record = artifact.finish_unit(store, step, "train", contents, {}, time.time())
    manifest = artifact.commit(store, step, [record], {})
    generate("builder", tmp_path)
    Attestor(load_signing_key(str(tmp_path / "builder.pem")), lambda _: None, "run").sign(store, manifest)
    generate("other", tmp_path / "others")
    signature = next((tmp_path / "root" / step.path / "signatures").glob("*.sig"))
    return tmp_path / "root" / step.path / weights_folder(manifest), signature, tmp_path / "builder.weights.pub"


def verified(folder: Path, signature: Path, public: Path) -> subprocess.CompletedProcess[str]:
    return model_signing("verify", "key", folder, "--signature", signature, "--public_key", public)


def test_its_own_command_accepts_the_weights_and_nothing_else(signed: tuple[Path, Path, Path]) -> None:
    folder, signature, public = signed
    assert json.loads(signature.read_text())["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    told = verified(folder, signature, public)
    assert told.returncode == 0, told.stderr
    extra = folder / "modeling.py"
    extra.write_text("")
    assert "Extra files" in verified(folder, signature, public).stderr
    extra.unlink()
    weights = next(folder.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    changed = verified(folder, signature, public)
    assert changed.returncode != 0
    assert "Hash mismatch" in changed.stderr


def test_a_chain_counts_the_signature_of_weights_as_well(signed: tuple[Path, Path, Path]) -> None:
    folder, signature, public = signed
    root, path = folder.parents[2], folder.parent.relative_to(folder.parents[2]).as_posix()

    def problems(keys: Path) -> list[str]:
        return [problem for link in verify_chain(open_store(root), path, load_trust(keys)) for problem in link.problems]

    assert problems(public.parent) == []
    content = bytearray(signature.read_bytes())
    for place in range(40, len(content), len(content) // 5):
        changed = content.copy()
        changed[place] ^= 1
        signature.write_bytes(changed)
        assert signature.name in "".join(problems(public.parent)), place
    signature.write_bytes(content)
    shutil.copy(public.parent / "others" / "other.weights.pub", public)
    assert signature.name in "".join(problems(public.parent))
    public.unlink()  # who trusts no key for weights relies on the statement, which covers them too
    assert problems(public.parent) == []
