"""CycloneDX 1.7 ML-BOM: a component for the artifact and for everything that it was made with.

Built as plain data, since the library has no classes for model cards. The same artifact and measurements give the same
bytes: the serial number is drawn from the content, and there is no timestamp.
"""

import json
import uuid
from typing import Any

from pipeline.core.lineage_graph import Edge, Kind
from pipeline.provenance.exports.measurements import NOTHING, Measurement
from pipeline.provenance.exports.subject import DATA, MODELS, SMOKE_TEST, Subject
from pipeline.store.artifact import versions
from pipeline.store.step import ID_LENGTH, Json

FILE = "bom.cdx.json"
SCHEMA = "http://cyclonedx.org/schema/bom-1.7.schema.json"
MODEL, DATA_TYPE = "machine-learning-model", "data"
THEMES: dict[Kind, str] = {"data set": "dataset", "prompt": "configuration"}  # of data; else "other"


def export(subject: Subject) -> dict[str, str]:
    subject.require((*MODELS, *DATA), "models and data sets")
    tool = {"type": "application", "name": "undertow", "version": versions().get("undertow", "")}
    content = {
        "metadata": {"tools": {"components": [tool]}, "component": _main(subject)},
        "components": [_component(subject, one.node.id, one.via) for one in subject.ancestors],
        "dependencies": [
            {"ref": name, "dependsOn": sorted({edge.parent for edge in subject.lineage.edges if edge.child == name})}
            for name in subject.lineage.nodes
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    head = {"$schema": SCHEMA, "bomFormat": "CycloneDX", "specVersion": "1.7", "serialNumber": f"urn:uuid:{serial}"}
    return {FILE: json.dumps(head | {"version": 1} | content, indent=1, allow_nan=False) + "\n"}


def _main(subject: Subject) -> Json:
    path = subject.made.path
    found = _component(subject, path)
    if subject.smoke_test:
        found["properties"].append(_property("smoke_test", SMOKE_TEST))
    if found["type"] != MODEL:
        return found
    if not subject.measured:
        found["properties"].append(_property("measured", NOTHING))
    line = subject.weights(path)
    found["pedigree"] = {
        "ancestors": [
            {name: value for name, value in _component(subject, name, edge).items() if name != "bom-ref"}
            for name, edge in line.items()
        ]
    }
    return found | {"modelCard": _model_card(subject)}


def _component(subject: Subject, name: str, via: Edge | None = None) -> Json:
    """via: the edge by which the artifact leads to it."""
    kind, details = subject.kind(name), dict(subject.lineage.nodes[name].details)
    found: Json = {"type": MODEL if kind == "model" else DATA_TYPE, "bom-ref": name, "name": name, "properties": []}
    if name in subject.digests:
        found["version"] = name[-ID_LENGTH:]
        found["hashes"] = [{"alg": "SHA-256", "content": subject.digests[name]}]
        found["properties"].append(_property("hash_of", "manifest.json, which lists every file with its SHA-256"))
    elif "sha256" in details:
        found["hashes"] = [{"alg": "SHA-256", "content": details["sha256"]}]
    if "revision" in details:
        found["version"] = details["revision"]
    if via is not None:
        found["properties"] += [_property("relation", via.relation), _property("evidence", via.evidence)]
    if found["type"] == DATA_TYPE:
        found["data"] = [{"type": THEMES.get(kind, "other"), "name": name}]
    return found


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": f"undertow:{name}", "value": value}


def _model_card(subject: Subject) -> Json:
    parameters: dict[str, Any] = {
        "task": "text-generation",
        "datasets": [{"ref": edge.parent} for edge in subject.parents(subject.made.path, "trained_on")],
    }
    if family := subject.config.get("model_type"):
        parameters["architectureFamily"] = str(family)
    if classes := subject.config.get("architectures"):
        parameters["modelArchitecture"] = ", ".join(map(str, classes))
    card: Json = {"modelParameters": parameters}
    if subject.measured:
        card["quantitativeAnalysis"] = {"performanceMetrics": [_metric(one) for one in subject.measured]}
    return card


def _metric(one: Measurement) -> Json:
    verdict = f"; verdict {one.verdict}" if one.verdict else ""
    found: Json = {
        "type": one.name,
        "value": repr(one.estimate),
        "slice": f"{one.cell}; students: {one.runs}; from {one.transfer}{verdict}",
    }
    if one.low is not None:
        found["slice"] += f"; {100 * one.confidence:g} % interval"
        found["confidenceInterval"] = {"lowerBound": repr(one.low), "upperBound": repr(one.high)}
    return found
