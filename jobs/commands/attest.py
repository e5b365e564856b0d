"""Signing and verification: `undertow keygen`, `undertow attest`, `undertow verify --chain`."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pipeline.core.errors import ArtifactError, InputError, visible
from pipeline.provenance.attestation.chain import Bundle, Link, verify_chain
from pipeline.provenance.attestation.keys import SigningKey
from pipeline.provenance.attestation.policy import load_trust
from pipeline.provenance.attestation.signing import Attestor, envelopes
from pipeline.provenance.attestation.statement import read_bundle, signed_envelope
from pipeline.provenance.attestation.summary import summary_of
from pipeline.provenance.manifests import load_ancestors
from pipeline.stages import lineage_of
from pipeline.store import Store, artifact, parallel_map
from pipeline.store.step import KINDS
from pipeline.store.verify import artifacts


def attest(console: Console, store: Store, path: str | None, key: SigningKey) -> None:
    """Sign one artifact, or all finished ones of a root. Prints damaged ones, and raises ArtifactError at the end."""
    attestor = Attestor(key, lineage_of, "afterwards")
    paths = [path] if path else [one for kind in KINDS for one in artifacts(store, kind)]

    def sign(one: str) -> bool | ArtifactError | None:
        try:
            manifest = artifact.load(store, one)
            return None if manifest is None else attestor.sign(store, manifest)
        except ArtifactError as error:
            return error

    results = parallel_map(sign, paths)
    damaged = [result for result in results if isinstance(result, ArtifactError)]
    new, old = sum(result is True for result in results), sum(result is False for result in results)
    before = f"; {old:,} were signed before" if old else ""
    console.print(f"{new:,} artifacts signed with key {key.id[:16]}{before}", highlight=False)
    if not key.weights:
        console.print("No key for weights lies beside it, so no folder of weights is signed for model-signing.")
    if damaged:
        raise ArtifactError("\n".join(map(str, damaged)))


def bundle_of(store: Store, path: str) -> bytes:
    """The statements on an artifact and on everything it was made from, as an in-toto bundle.

    Raises InputError if there are none, and ArtifactError if a manifest is damaged.
    """
    problems: list[str] = []
    paths = load_ancestors(store, path, problems)
    signed = parallel_map(lambda one: b"".join(content for _, content in envelopes(store, one)), paths)
    if problems:  # a bundle with a gap would fail at the stranger's
        raise ArtifactError("\n".join(problems))
    if not any(signed):
        raise InputError(f"{path} and what it was made from are not signed; `undertow attest` signs them")
    return b"".join(signed)


def verify(
    console: Console,
    store: Store,
    path: str,
    keys: Path,
    policy: Path | None,
    bundle: Path | None,
    summary: Path | None,
    key: SigningKey | None,
) -> bool:
    """Verify a chain, print each artifact and write the summary. Returns whether the chain holds."""
    trust = load_trust(keys, policy)
    brought = Bundle(bundled(bundle), trust, str(bundle)) if bundle else None
    links = verify_chain(store, path, trust, brought)
    _print(console, links, brought)
    if summary is not None:
        statement = summary_of(links, trust, datetime.now(UTC))
        _write(summary, signed_envelope(statement, key) if key else _unsigned(statement))
        console.print(f"{summary}", highlight=False, soft_wrap=True)
    return not any(link.problems for link in links)


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise InputError(f"cannot write the summary {file}: {error.strerror}; name another file") from None


def _unsigned(statement: dict[str, object]) -> bytes:
    return json.dumps(statement, indent=1).encode() + b"\n"


def bundled(bundle: Path) -> list[bytes]:
    """The envelopes of a bundle file. Raises InputError."""
    try:
        return read_bundle(bundle.read_bytes(), str(bundle))
    except OSError as error:
        raise InputError(f"cannot read the bundle {bundle}: {error.strerror}") from None


def _print(console: Console, links: Sequence[Link], bundle: Bundle | None) -> None:
    for link in links:
        signed = f"signed by {link.signed_by}" if link.signed_by else "not signed"
        files = "files read" if link.here else "files not here"
        line = f"{'✗' if link.problems else '✓'} {link.path}: {signed}, {files}"
        console.print(Text(visible(line), "red" if link.problems else "green"), soft_wrap=True)
        for problem in link.problems:
            console.print(Text(f"    {visible(problem)}", "red"), soft_wrap=True)
        for name in link.declared:
            console.print(Text(f"    only declared: {visible(name)}"), soft_wrap=True)
    for problem in bundle.problems if bundle else ():
        console.print(Text(f"! {visible(problem)}", "yellow"), soft_wrap=True)
    failed = sum(bool(link.problems) for link in links)
    proved = sum(bool(link.signed_by) for link in links)
    verdict = f"the chain does not hold in {failed} places" if failed else "the chain holds"
    console.print(f"{len(links)} artifacts, {proved} of them signed: {verdict}", highlight=False)
