"""Keys for signing: ed25519 for statements, and P-256 for folders of weights, since model-signing takes no ed25519.

A private key is a PEM file (PKCS#8, without a passphrase), or stays with a key service or token that securesystemslib
can use; its public key is then a file as well.
"""

import os
import sys
from dataclasses import dataclass
from getpass import getpass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from pipeline.core.errors import InputError

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Key, Signer

PRIVATE, PUBLIC = ".pem", ".pub"
WEIGHTS = ".weights"  # before the suffix, in the names of P-256 keys
VARIABLE = "envvar:"  # before the name of an environment variable that names the key
READABLE_BY_OWNER = 0o600
PIN = "UNDERTOW_SIGNING_PIN"  # environment variable with what a token asks for
_one_at_a_time = Lock()  # tokens have one session to sign in


@dataclass(frozen=True)
class SigningKey:
    """signer: of statements. weights: the file of the P-256 key that lies beside it, if there is one."""

    signer: "Signer"
    weights: Path | None = None

    def sign(self, envelope: "Envelope") -> None:
        """Add a signature to a DSSE envelope; from any thread. Raises InputError if the token or service refuses."""
        with _one_at_a_time:
            try:
                envelope.sign(self.signer)
            except InputError:
                raise
            except Exception as error:  # each service's library has its own
                raise InputError(f"the key {self.id[:16]} cannot sign: {str(error) or type(error).__name__}") from None

    @property
    def id(self) -> str:
        """SHA-256 of the public key, as securesystemslib computes it: 64 hex digits."""
        return str(self.signer.public_key.keyid)


def generate(name: str, folder: Path) -> list[Path]:
    """Write a new pair of each kind: NAME.pem, NAME.pub, NAME.weights.pem, NAME.weights.pub.

    Raises InputError if one is there already, or the folder cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not name or Path(name).name != name or name.endswith(WEIGHTS):
        raise InputError(f"{name!r} is no name for a key: give one word, such as builder")
    made = {name: Ed25519PrivateKey.generate(), f"{name}{WEIGHTS}": generate_private_key(SECP256R1())}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [path for stem, private in made.items() for path in _write_pair(private, folder, stem)]
    except FileExistsError as error:
        raise InputError(f"{error.filename} is there already; choose another name or folder") from None
    except OSError as error:
        raise InputError(f"cannot write keys to {folder}: {error.strerror}") from None


def _write_pair(private: object, folder: Path, stem: str) -> list[Path]:
    from cryptography.hazmat.primitives import serialization as form

    contents = {
        PRIVATE: private.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()),  # type: ignore[attr-defined]
        PUBLIC: private.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo),  # type: ignore[attr-defined]
    }
    for suffix, content in contents.items():
        mode = READABLE_BY_OWNER if suffix == PRIVATE else 0o644
        handle = os.open(folder / f"{stem}{suffix}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
    return [folder / f"{stem}{suffix}" for suffix in contents]


def load_signing_key(key: str, public: str | None = None) -> SigningKey:
    """The key that a user named: a PEM file, envvar:NAME (a variable that names the key), or a URI of securesystemslib
    such as awskms:…, gcpkms:…, azurekms:…, hv:… or hsm:… (PKCS#11).

    public: the file of the public key, which a URI needs. Raises InputError.
    """
    if key.startswith(VARIABLE):
        name = key.removeprefix(VARIABLE)
        key = os.environ.get(name, "")
        if not key or key.startswith(VARIABLE):
            raise InputError(f"the environment variable {name} names no signing key; set it to the key's file")
    if _is_uri(key):
        return SigningKey(_remote_signer(key, public))
    file = Path(key.removeprefix("file2:"))
    weights = file.with_name(f"{file.name.removesuffix(PRIVATE)}{WEIGHTS}{PRIVATE}")
    return SigningKey(_file_signer(file), weights if weights.is_file() else None)


def _is_uri(key: str) -> bool:
    from securesystemslib.signer import SIGNER_FOR_URI_SCHEME

    scheme = key.partition(":")[0]
    return scheme != "file2" and scheme in SIGNER_FOR_URI_SCHEME


def _remote_signer(uri: str, public: str | None) -> "Signer":
    from securesystemslib.signer import Signer

    if public is None:
        raise InputError(f"{uri} keeps its private key to itself; name the file of its public key as well")
    try:
        return Signer.from_priv_key_uri(uri, _public_key(Path(public)), _secret)
    except Exception as error:  # each service's library has its own
        raise InputError(f"cannot sign with {uri}: {error}") from None


def _secret(name: str) -> str:
    """What a token asks for before it signs, such as its PIN. Raises InputError if nobody can be asked."""
    if PIN in os.environ:
        return os.environ[PIN]
    if not sys.stdin.isatty():
        raise InputError(f"the signing key's token asks for its {name}; set the environment variable {PIN}")
    return getpass(f"{name} of the signing key's token: ")


def _file_signer(file: Path) -> "Signer":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        return CryptoSigner(load_pem_private_key(file.read_bytes(), None))
    except OSError as error:
        raise InputError(f"cannot read the signing key {file}: {error.strerror}; `undertow keygen` makes one") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputError(f"{file} is no private key in PEM (PKCS#8) without a passphrase") from None


def load_public_keys(folder: Path) -> dict[str, "Key"]:
    """Name -> key of every NAME.pub in a folder, without those for weights. Raises InputError if there is none."""
    files = sorted(file for file in folder.glob(f"*{PUBLIC}") if not file.stem.endswith(WEIGHTS))
    if not files:
        raise InputError(f"{folder} has no public key NAME{PUBLIC}; `undertow keygen` makes pairs")
    return {file.stem: _public_key(file) for file in files}


def weights_keys(folder: Path) -> list[Path]:
    """The files of the public keys for weights in a folder, NAME.weights.pub."""
    return sorted(folder.glob(f"*{WEIGHTS}{PUBLIC}"))


def _public_key(file: Path) -> "Key":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    try:
        return SSlibKey.from_crypto(load_pem_public_key(file.read_bytes()))
    except OSError as error:
        raise InputError(f"cannot read the public key {file}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputError(f"{file} is no public key in PEM") from None
