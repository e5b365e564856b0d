"""Verifies the chain of an artifact: it and everything it was made from is signed, and each is the one that the next
was made from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pipeline.core.errors import ArtifactError
from pipeline.provenance.attestation.policy import Trust
from pipeline.provenance.attestation.signing import envelopes, wrong_weights
from pipeline.provenance.attestation.statement import Attested, Refused
from pipeline.store import Store, artifact, parallel_map
from pipeline.store.artifact import Manifest
from pipeline.store.verify import verify_artifact


@dataclass(frozen=True)
class Wanted:
    """An artifact that a chain needs. digest: SHA-256 of its manifest. child: what was made from it, or ""."""

    path: str
    digest: str
    child: str = ""


@dataclass(frozen=True)
class Link:
    """The verification of one artifact of a chain.

    signed_by: the key, or "" if no signature counts. here: whether its files were at hand, and so were read.
    problems: why the chain does not hold here, one line each. declared: what nothing but the signer's word vouches for.
    parents: what it was made from. envelopes: (place, content) of the statements that count.
    """

    path: str
    digest: str
    signed_by: str
    here: bool
    problems: tuple[str, ...]
    declared: tuple[str, ...]
    parents: tuple[Wanted, ...]
    envelopes: tuple[tuple[str, bytes], ...] = ()


class Bundle:
    """Envelopes that came along without their artifacts. source: where they were read."""

    def __init__(self, contents: Iterable[bytes], trust: Trust, source: str) -> None:
        self.of: dict[str, list[tuple[str, bytes]]] = {}
        self.problems: list[str] = []
        for number, content in enumerate(contents, 1):
            place = f"{source}, line {number}"
            try:
                self.of.setdefault(trust.read(content).path, []).append((place, content))
            except Refused as why:
                self.problems.append(f"{place}: {why}")


def verify_chain(store: Store, path: str, trust: Trust, bundle: Bundle | None = None) -> list[Link]:
    """Every artifact of a chain, the start first, then by distance.

    Raises ArtifactError if there is no such artifact, or its manifest is damaged.
    """
    check = partial(_verify, store, trust, bundle.of if bundle else {})
    level, seen = [Wanted(path, artifact.require(store, path).digest)], set[tuple[str, str]]()
    links: list[Link] = []
    while level:
        seen |= {(wanted.path, wanted.digest) for wanted in level}
        found = parallel_map(check, level)
        links += found
        parents = {(parent.path, parent.digest): parent for link in found for parent in link.parents}
        level = [parent for key, parent in sorted(parents.items()) if key not in seen]
    return links


def _verify(store: Store, trust: Trust, bundled: Mapping[str, Sequence[tuple[str, bytes]]], wanted: Wanted) -> Link:
    problems: list[str] = []
    manifest = _manifest(store, wanted, problems)
    if manifest is not None:
        problems += wrong_weights(store, manifest, trust.weights)
    candidates = [*envelopes(store, wanted.path), *bundled.get(wanted.path, ())]
    counting, refused = _counting(candidates, trust, wanted, manifest)
    said = counting[0][1] if counting else None
    if said is None and not trust.policy.may_be_unsigned(wanted.path):
        problems += refused or [f"{wanted.path} is not signed{_because_of(wanted)}"]
    if said is None and manifest is None and not problems:
        problems.append(f"{wanted.path} is neither here nor signed{_because_of(wanted)}, so its origin is unknown")
    return Link(
        wanted.path,
        wanted.digest,
        said.key if said else "",
        manifest is not None,
        tuple(problems),
        tuple(said.declared) if said else (),
        tuple(_parents(wanted.path, manifest, said)),
        tuple(envelope for envelope, _ in counting),
    )


def _because_of(wanted: Wanted) -> str:
    return f", and {wanted.child} was made from it" if wanted.child else ""


def _manifest(store: Store, wanted: Wanted, problems: list[str]) -> Manifest | None:
    """The artifact's manifest, if it is here; everything that is wrong with its files is a problem."""
    try:
        manifest = artifact.load(store, wanted.path)
    except ArtifactError as error:
        problems.append(str(error))
        return None
    if manifest is None:
        return None
    if manifest.digest != wanted.digest:
        problems.append(f"{wanted.child} was made from another {wanted.path} than the one that is here")
    problems += verify_artifact(store, wanted.path, with_inputs=False).problems
    return manifest


def _counting(
    candidates: Sequence[tuple[str, bytes]], trust: Trust, wanted: Wanted, manifest: Manifest | None
) -> tuple[list[tuple[tuple[str, bytes], Attested]], list[str]]:
    """The envelopes that count, with what they say; and why each of the others does not."""
    counting, refused = [], []
    for place, content in candidates:
        try:
            said = trust.read(content)
        except Refused as why:
            refused.append(f"{place}: {why}")
            continue
        if why_not := _mismatch(said, wanted, manifest):
            refused.append(f"{place}: {why_not}")
        else:
            counting.append(((place, content), said))
    return counting, refused


def _mismatch(said: Attested, wanted: Wanted, manifest: Manifest | None) -> str:
    """Why a valid statement is not about this artifact; "" if it is."""
    if said.path != wanted.path:
        return f"it is the signature of {said.path}"
    if said.digest != wanted.digest:
        return f"it is the signature of another {wanted.path}, whose manifest had the SHA-256 {said.digest}"
    if said.kind != wanted.path.partition("/")[0]:
        return f"it calls the artifact a {said.kind}"
    if manifest is None or manifest.digest != wanted.digest:
        return ""
    made_from = {role: (source["path"], source["manifest"]) for role, source in manifest.inputs.items()}
    return "" if made_from == dict(said.inputs) else "it names other inputs than the manifest"


def _parents(path: str, manifest: Manifest | None, said: Attested | None) -> list[Wanted]:
    """What an artifact was made from: by its signed statement, or else by its manifest."""
    if said is not None:
        return [Wanted(parent, digest, path) for parent, digest in said.inputs.values()]
    inputs = manifest.inputs.values() if manifest else ()
    return [Wanted(source["path"], source["manifest"], path) for source in inputs]
