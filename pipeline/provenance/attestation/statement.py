"""What is signed of an artifact: an in-toto Statement v1 with SLSA provenance v1, in a DSSE envelope.

The subject is the artifact's manifest, by its SHA-256; the manifest names every file by its own. What the artifact was
made with is a resolved dependency: an input by the digest of its manifest, or a name without a digest, which only
declares. Annotations carry the edge of the lineage graph.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pipeline.core.errors import InputError
from pipeline.core.lineage_graph import Node
from pipeline.provenance.manifests import Made
from pipeline.store.artifact import Manifest

if TYPE_CHECKING:
    from securesystemslib.signer import Key

    from pipeline.provenance.attestation.keys import SigningKey

PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD = "urn:undertow:step:v1"
MOST_BYTES = 16 << 20  # of an envelope; a matrix names thousands of inputs of about 300 bytes each
When = Literal["run", "afterwards"]


class Refused(Exception):
    """An envelope proves nothing; str() says why."""


@dataclass(frozen=True)
class Attested:
    """What a valid envelope says.

    key: name of the public key that verified it. digest: SHA-256 of the subject's manifest. signed_on: by the signer's
    clock. inputs: role -> (path, SHA-256 of its manifest). node: what the artifact is in a lineage, or "". edges: of
    the lineage: relation, parent, the parent's kind if it is no artifact (else ""), share.
    """

    key: str
    path: str
    digest: str
    kind: str
    signed_on: datetime
    inputs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    edges: tuple[tuple[str, str, str, float | None], ...] = ()
    node: str = ""

    @property
    def declared(self) -> list[str]:
        """What the artifact was made with and nothing but the statement vouches for."""
        return [parent for _, parent, kind, _ in self.edges if kind]


def statement_of(manifest: Manifest, made: Made | None, now: datetime, when: When) -> dict[str, Any]:
    """made: the artifact's place in a lineage, if it is a model or data set. when: whether the run itself signs."""
    subject = {"name": manifest.path, "digest": {"sha256": manifest.digest}}
    if made is not None:
        subject["annotations"] = {"kind": made.kind}
    return {
        "_type": STATEMENT,
        "subject": [subject],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": {"kind": manifest.kind, "schema": manifest.schema, "settings": manifest.settings},
                "internalParameters": {"signed_on": _text(now), "signed": when},
                "resolvedDependencies": [*_inputs(manifest, made), *_named(made)],
            },
            "runDetails": {
                "builder": {"id": "urn:undertow", "version": dict(manifest.produced["versions"])},
                "metadata": {
                    "invocationId": manifest.identity or manifest.id,
                    "startedOn": _text(datetime.fromtimestamp(manifest.produced["started"], UTC)),
                    "finishedOn": _text(datetime.fromtimestamp(manifest.produced["ended"], UTC)),
                },
            },
        },
    }


def _inputs(manifest: Manifest, made: Made | None) -> list[dict[str, Any]]:
    related = {parent.node: parent for parent in made.parents if isinstance(parent.node, str)} if made else {}
    found = []
    for role, source in manifest.inputs.items():
        annotations: dict[str, Any] = {"role": role}
        if role in related:
            annotations["relation"] = related[role].relation
            if related[role].share is not None:
                annotations["share"] = related[role].share
        found.append({"name": source["path"], "digest": {"sha256": source["manifest"]}, "annotations": annotations})
    return found


def _named(made: Made | None) -> list[dict[str, Any]]:
    """Parents that are no artifacts, such as a model of a hub."""
    return [
        {"name": parent.node.id, "annotations": {"relation": parent.relation, "kind": parent.node.kind}}
        for parent in (made.parents if made else ())
        if isinstance(parent.node, Node)
    ]


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def signed_envelope(statement: Mapping[str, Any], key: "SigningKey") -> bytes:
    """The statement in a signed envelope, as one line of JSON."""
    from securesystemslib.dsse import Envelope

    payload = json.dumps(statement, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    envelope = Envelope(payload, PAYLOAD, {})
    key.sign(envelope)
    return json.dumps(envelope.to_dict(), separators=(",", ":")).encode() + b"\n"


def open_envelope(content: bytes, keys: Mapping[str, "Key"]) -> tuple[str, dict[str, Any]]:
    """(name of the key, statement) of an envelope that one of the keys has signed. Raises Refused."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import Error

    try:
        envelope = Envelope.from_dict(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, Error):
        raise Refused("it is no DSSE envelope") from None
    if envelope.payload_type != PAYLOAD:
        raise Refused(f"its payload is {str(envelope.payload_type)[:80]!r} instead of {PAYLOAD}")
    for name, key in keys.items():
        try:
            envelope.verify([key], threshold=1)
        except (Error, ValueError):
            continue
        return name, _parsed(envelope.payload)
    raise Refused("no key that you trust has signed it, or it was changed after it was signed")


def _parsed(payload: bytes) -> dict[str, Any]:
    """The payload, if in-toto's own parser takes it for a statement of exactly one subject."""
    from google.protobuf.json_format import Parse, ParseError
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    try:
        Statement.copy_from_pb(Parse(payload, Message())).validate()
        statement: dict[str, Any] = json.loads(payload)
    except (ParseError, ValueError, RecursionError) as error:
        raise Refused(f"it is no in-toto statement: {str(error)[:200]}") from None
    if len(statement["subject"]) != 1:
        raise Refused(f"it is about {len(statement['subject'])} subjects, and one artifact has one statement")
    return statement


def read(content: bytes, keys: Mapping[str, "Key"]) -> Attested:
    """What an envelope says of the step that made an artifact. Raises Refused."""
    if len(content) > MOST_BYTES:
        raise Refused(f"it is larger than {MOST_BYTES >> 20} MiB")
    key, statement = open_envelope(content, keys)
    if (stated := statement.get("predicateType")) != PROVENANCE:
        raise Refused(f"it states {str(stated)[:80]!r}, not how an artifact was made")
    try:
        return _attested(key, statement)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Refused("it is no provenance of a step of undertow") from None


def _attested(key: str, statement: Mapping[str, Any]) -> Attested:
    _require_slsa(statement["predicate"])
    subject, definition = statement["subject"][0], statement["predicate"]["buildDefinition"]
    dependencies = definition.get("resolvedDependencies", [])
    noted = [(one, one.get("annotations", {})) for one in dependencies]
    return Attested(
        key=key,
        path=str(subject["name"]),
        digest=str(subject["digest"]["sha256"]),
        kind=str(definition["externalParameters"]["kind"]),
        signed_on=datetime.fromisoformat(definition["internalParameters"]["signed_on"]),
        inputs={str(a["role"]): (str(one["name"]), str(one["digest"]["sha256"])) for one, a in noted if "role" in a},
        edges=tuple(
            (str(a["relation"]), str(one["name"]), str(a.get("kind", "")), a.get("share"))
            for one, a in noted
            if "relation" in a
        ),
        node=str(subject.get("annotations", {}).get("kind", "")),
    )


def _require_slsa(predicate: Mapping[str, Any]) -> None:
    from google.protobuf.json_format import ParseDict, ParseError
    from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance

    try:
        ParseDict(predicate, Provenance())
    except ParseError as error:
        raise Refused(f"its predicate is no SLSA provenance: {str(error)[:200]}") from None


def read_bundle(content: bytes, source: str) -> list[bytes]:
    """The envelopes of an in-toto bundle: JSON Lines, one envelope each. Raises InputError."""
    lines = [line for line in content.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{source} is empty; `undertow export ARTIFACT --to attestations` writes a bundle")
    return lines
