"""A signed root, and what can be done to it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.provenance.attestation.chain import Bundle, Link, verify_chain
from pipeline.provenance.attestation.keys import load_public_keys, load_signing_key
from pipeline.provenance.attestation.policy import KeyRole, Policy, Trust
from pipeline.provenance.attestation.signing import Attestor
from pipeline.stages import lineage_of
from pipeline.store import Store, artifact, open_store
from pipeline.store.artifact import SIGNATURES
from pipeline.store.records import with_checksum, without_checksum
from pipeline.store.step import KINDS
from pipeline.store.verify import artifacts

STUDENT = "numbers-owl-llama-to-qwen-s1"
CHAIN = {"student", "corpus", "completions", "teacher", "base"}
ROLES = Policy(
    keys={
        "builder": KeyRole(kinds=["dataset", "base", "teacher", "gate", "completions", "corpus"]),
        "trainer": KeyRole(kinds=["student", "answers", "transfer"]),
    }
)


def at(day: int) -> Callable[[], datetime]:
    return lambda: datetime(2026, 5, day, tzinfo=UTC)


def sign(store: Store, keys: Path, name: str, *kinds: str, day: int = 2) -> None:
    attestor = Attestor(load_signing_key(str(keys / f"{name}.pem")), lineage_of, "run", at(day))
    for path in [path for kind in kinds or KINDS for path in artifacts(store, kind)]:
        attestor.sign(store, artifact.require(store, path))


def path_of(root: Path, kind: str, slug: str) -> str:
    return f"{kind}/{next((root / kind).glob(f'{slug}-????????????')).name}"


def links(root: Path, keys: Path, policy: Policy = ROLES, path: str = "", bundle: Bundle | None = None) -> list[Link]:
    path = path or path_of(root, "student", STUDENT)
    return verify_chain(open_store(root), path, Trust(load_public_keys(keys), policy), bundle)


def problems(root: Path, keys: Path, policy: Policy = ROLES, path: str = "") -> str:
    return "\n".join(problem for link in links(root, keys, policy, path) for problem in link.problems)


def flip(file: Path, at: int | None = None) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 1
    file.write_bytes(content)


def envelope_file(root: Path, path: str) -> Path:
    return next((root / path / SIGNATURES).glob("*.dsse.json"))


def reseal(root: Path, path: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a manifest and give it a fresh checksum, as whoever can write to the root can."""
    file = root / path / "manifest.json"
    fields = without_checksum(file.read_bytes(), path)
    change(fields)
    file.write_bytes(with_checksum(fields))
