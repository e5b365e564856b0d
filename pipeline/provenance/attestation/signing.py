"""Signs artifacts: a statement in their folder and, for weights, a signature that model-signing's own CLI verifies.

Signatures lie in the artifact's folder, `signatures/`, one file per key and manifest, created once. The digests in the
manifest are signed, so that nothing is read again, however large the weights are.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.core.errors import InputError
from pipeline.provenance.attestation.keys import SigningKey
from pipeline.provenance.attestation.statement import When, signed_envelope, statement_of
from pipeline.provenance.manifests import Lineage
from pipeline.store import Store, artifact
from pipeline.store.artifact import SIGNATURES, File, Manifest

ENVELOPE, BUNDLE = ".dsse.json", ".sig"
SHORT = 16  # hex digits of a digest in the name of a signature


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Attestor:
    """Signs artifacts with one key. lineage: of a manifest. when: whether the run that makes them signs."""

    key: SigningKey
    lineage: Lineage
    when: When
    clock: Callable[[], datetime] = _now

    def has_signed(self, store: Store, manifest: Manifest) -> bool:
        return store.exists(f"{self._place(manifest)}{ENVELOPE}")

    def sign(self, store: Store, manifest: Manifest) -> bool:
        """Sign an artifact unless this key has signed it already. Returns whether it is newly signed."""
        place, new = self._place(manifest), not self.has_signed(store, manifest)
        if new:
            statement = statement_of(manifest, self.lineage(manifest), self.clock(), self.when)
            store.create(f"{place}{ENVELOPE}", signed_envelope(statement, self.key))
        folder = weights_folder(manifest)
        if folder and self.key.weights and not store.exists(f"{place}{BUNDLE}"):
            store.create(f"{place}{BUNDLE}", sign_weights(manifest, folder, self.key.weights))
        return new

    def _place(self, manifest: Manifest) -> str:
        """The path of the signature, without its suffix."""
        return f"{manifest.path}/{SIGNATURES}/{self.key.id[:SHORT]}-{manifest.digest[:SHORT]}"


def envelopes(store: Store, path: str) -> list[tuple[str, bytes]]:
    """(path, content) of every statement in an artifact's folder. Links are not followed."""
    entries = store.files(f"{path}/{SIGNATURES}")
    names = [entry.path for entry in entries if not entry.link and entry.path.endswith(ENVELOPE)]
    return [(name, content) for name in names if (content := artifact.read_bytes(store, name)) is not None]


def weights_folder(manifest: Manifest) -> str:
    """The folder of an artifact with its weights, by its place; "" if it has none, or not all in one."""
    weights = {str(PurePosixPath(file.place).parent) for file in manifest.files if file.path.endswith(".safetensors")}
    return weights.pop() if len(weights) == 1 and "." not in weights else ""


def sign_weights(manifest: Manifest, folder: str, key: Path) -> bytes:
    """A sigstore bundle for a folder of weights, as model-signing writes it. Raises InputError if the key is unfit.

    model-signing would read the weights to hash them. Their digests are in the manifest, so it is given these.
    """
    from model_signing.signing import Config

    with tempfile.TemporaryDirectory(prefix="undertow-") as scratch:
        signature = Path(scratch) / "signature"
        try:
            config = Config().use_elliptic_key_signer(private_key=key)
        except (ValueError, OSError, TypeError):
            raise InputError(f"{key} is no P-256 key in PEM (PKCS#8); `undertow keygen` makes one") from None
        config.set_hashing_config(_known(manifest, folder)).sign(PurePosixPath(folder), signature)
        return signature.read_bytes()


def wrong_weights(store: Store, manifest: Manifest, keys: Sequence[Path]) -> list[str]:
    """Why no signature of an artifact's weights counts, a line for each; empty if one counts, or if there is none.

    keys: public keys that are trusted; without any nothing is verified.
    """
    own, folder = f"-{manifest.digest[:SHORT]}{BUNDLE}", weights_folder(manifest)
    entries = store.files(f"{manifest.path}/{SIGNATURES}") if keys else ()
    places = [entry.path for entry in entries if not entry.link and entry.path.endswith(own)]
    for place in places:
        signature = artifact.read_bytes(store, place) or b""
        if any(_is_signed(signature, manifest, folder, key) for key in keys):
            return []
    return [f"{place}: no key for weights that you trust has signed them, or it was changed" for place in places]


def _is_signed(signature: bytes, manifest: Manifest, folder: str, key: Path) -> bool:
    from model_signing.verifying import Config

    with tempfile.TemporaryDirectory(prefix="undertow-") as scratch:
        copy = Path(scratch) / "signature"
        copy.write_bytes(signature)
        try:
            config = Config().use_elliptic_key_verifier(public_key=key)
            config.set_hashing_config(_known(manifest, folder)).verify(PurePosixPath(folder), copy)
        except Exception:  # whatever is wrong with a signature, the library has an exception of its own for it
            return False
    return True


def _known(manifest: Manifest, folder: str) -> "_Known":
    inside = [file for file in manifest.files if PurePosixPath(folder) in PurePosixPath(file.place).parents]
    return _Known(folder, inside)


@dataclass(frozen=True)
class _Known:
    """Takes the place of model-signing's hashing: files whose SHA-256 is known."""

    folder: str
    files: list[File]

    def add_ignored_paths(self, **_: Any) -> None:
        """Nothing is ignored."""

    def hash(self, model_path: PurePosixPath, **_: Any) -> Any:
        from model_signing._hashing.hashing import Digest
        from model_signing.manifest import FileManifestItem, Manifest, SerializationType

        form = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
        items = [
            FileManifestItem(
                path=PurePosixPath(file.place).relative_to(self.folder),
                digest=Digest("sha256", bytes.fromhex(file.sha256)),
            )
            for file in self.files
        ]
        return Manifest(model_path.name, items, SerializationType.from_args(form))
