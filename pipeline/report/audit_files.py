"""The files of a family audit: JSON, SARIF for code hosts, and a page."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipeline.provenance.family import Audited
from pipeline.report.audit_page import AuditContent, as_html

SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True)
class Judged(Audited):
    """A finding, and whether it breaks the policy."""

    failed: bool


@dataclass(frozen=True)
class Findings:
    """audit.json. problems: what the sources say that cannot be taken as it stands."""

    audit: str
    findings: list[Judged]
    problems: list[str]
    schema: Literal[1] = 1


def render(content: AuditContent) -> dict[str, bytes]:
    """File name -> bytes."""
    return {
        "audit.json": _dumped(as_json(content)),
        "audit.sarif": _dumped(as_sarif(content)),
        "audit.html": as_html(content).encode(),
    }


def _dumped(fields: dict[str, Any]) -> bytes:
    return (json.dumps(fields, indent=1, allow_nan=False) + "\n").encode()


def as_json(content: AuditContent) -> dict[str, Any]:
    judged = [
        Judged(one.student, one.finding, one.reason, one.exposures, failed=one.student in content.failed)
        for one in content.found
    ]
    return asdict(Findings(content.name, judged, content.graph.problems))


def as_sarif(content: AuditContent) -> dict[str, Any]:
    """SARIF 2.1.0: one result per student."""
    results = [
        {
            "ruleId": one.finding.replace(" ", "-"),
            "level": "error" if one.student in content.failed else "note",
            "message": {"text": f"{one.student}: {one.finding}; {one.reason}"},
            "locations": [{"logicalLocations": [{"fullyQualifiedName": one.student, "kind": "resource"}]}],
        }
        for one in content.found
    ]
    rules = [{"id": name} for name in ("exposed", "unknown", "not-exposed-by-evidence")]
    driver = {"name": "undertow", "rules": rules}
    return {"$schema": SARIF, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
