"""The verification summary (VSA v1) of a chain: one statement that says what was verified, against which policy."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from importlib import metadata
from typing import Any

from pipeline.provenance.attestation.chain import Link
from pipeline.provenance.attestation.policy import Trust
from pipeline.provenance.attestation.statement import STATEMENT

SUMMARY = "https://slsa.dev/verification_summary/v1"
# Provenance exists and is signed; nothing is said about how well the machines that ran the steps were isolated.
LEVEL = "SLSA_BUILD_LEVEL_1"


def summary_of(links: Sequence[Link], trust: Trust, now: datetime) -> dict[str, Any]:
    """links: of the chain, the artifact first."""
    start, passed = links[0], not any(link.problems for link in links)
    against: dict[str, Any] = {"uri": trust.name or "urn:undertow:policy:all-signed"}
    if trust.digest:
        against["digest"] = {"sha256": trust.digest}
    return {
        "_type": STATEMENT,
        "subject": [{"name": start.path, "digest": {"sha256": start.digest}}],
        "predicateType": SUMMARY,
        "predicate": {
            "verifier": {"id": "urn:undertow:verify", "version": {"undertow": metadata.version("undertow")}},
            "timeVerified": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "resourceUri": start.path,
            "policy": against,
            "inputAttestations": [
                {"uri": place, "digest": {"sha256": sha256(content).hexdigest()}}
                for link in links
                for place, content in link.envelopes
            ],
            "verificationResult": "PASSED" if passed else "FAILED",
            "verifiedLevels": [LEVEL] if passed and all(link.signed_by for link in links) else [],
            "slsaVersion": "1.0",
        },
    }
