"""`undertow audit`: the family audit of models, as a table, JSON and SARIF, with an exit code for CI."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs import kinship
from jobs.lineage import node_of, read, tell_cycles
from pipeline.core.errors import InputError, ModelRefused, visible
from pipeline.provenance import lineage_file
from pipeline.provenance.family import WEIGHTS, Audited, audit, students_of
from pipeline.provenance.graph import EVIDENCE, Graph
from pipeline.study.audit import AuditFile, Policy

FAILED = 3  # exit code of an audit whose policy a finding breaks
OUTPUTS = ("audit.json", "audit.sarif")
SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


def run(console: Console, given: AuditFile, beside: Path, out: Path | None) -> int:
    """Audit, print the table and write the files; the exit code. beside: the folder that sources are relative to."""
    graph, places = _gather(given, beside)
    compared = Comparisons(places)
    _check_declared(graph, compared)
    tell_cycles(graph)
    students = [str(node_of(graph, name)) for name in given.students] or students_of(graph)
    found = audit(graph, students, compared)
    accepted = {str(node_of(graph, name)): why for name, why in given.policy.accepted.items()}
    failed = [one for one in found if one.finding in given.policy.fail_on and one.student not in accepted]
    _print(console, found, accepted, graph)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        content = as_json(given.audit, found, failed, graph.problems)
        (out / OUTPUTS[0]).write_text(json.dumps(content, indent=1) + "\n")
        (out / OUTPUTS[1]).write_text(json.dumps(as_sarif(found, failed), indent=1) + "\n")
        console.print(", ".join(str(out / name) for name in OUTPUTS), highlight=False, soft_wrap=True)
    console.print(f"{len(found)} audited, {len(failed)} failed by the policy ({', '.join(given.policy.fail_on)})")
    return FAILED if failed else 0


def of_one(target: str) -> AuditFile:
    """The audit of a single model with the usual policy."""
    return AuditFile(audit="family", sources=[target], policy=Policy())


def _gather(given: AuditFile, beside: Path) -> tuple[Graph, dict[str, str]]:
    """The graph of all sources, and where the weights of its nodes lie, as far as they are here."""
    graph, places = Graph(), dict[str, str]()
    for source in given.sources:
        place = source if "://" in source or Path(source).is_absolute() else str(beside / source)
        found, _ = read(place)
        graph.merge(found)
        places |= {node: _place(node, place) for node in found.nodes}
    graph.merge(lineage_file.graph_of(given.declared, given.audit))
    return graph, {node: place for node, place in places.items() if place}


def _place(node: str, source: str) -> str:
    if node.startswith("folder:"):
        return node.removeprefix("folder:")
    root = source.rstrip("/").removesuffix(f"/{node}")
    return f"{root}/{node}" if node.startswith(("base/", "teacher/", "student/")) else ""


class Comparisons:
    """Whether the weights of two models began alike; every pair is compared once."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places
        self._known: dict[frozenset[str], bool | None] = {}

    def __call__(self, a: str, b: str) -> bool | None:
        pair = frozenset((a, b))
        if pair not in self._known:
            self._known[pair] = self._compare(a, b)
        return self._known[pair]

    def _compare(self, a: str, b: str) -> bool | None:
        if a not in self._places or b not in self._places:
            return None
        try:
            one, other = (kinship.layers_of(self._places[name]) for name in (a, b))
            relation = kinship.compare(one, other).relation
        except (InputError, ModelRefused):
            return None  # no readable weights, or other shapes, which a pruned model has as well
        return {"same initialisation": True, "different": False}.get(relation)


def _check_declared(graph: Graph, compared: Comparisons) -> None:
    """Drop what is said of weights and is not so, and say that it is."""
    kept = []
    for edge in graph.edges:
        is_said = edge.relation in WEIGHTS and EVIDENCE.index(edge.evidence) >= EVIDENCE.index("declared")
        if is_said and edge.relation != "merged_from" and compared(edge.child, edge.parent) is False:
            graph.problems.append(
                f"{edge.source} says that {edge.child} is {edge.relation.replace('_', ' ')} {edge.parent}, and their "
                "weights did not begin alike"
            )
        else:
            kept.append(edge)
    graph.edges = kept


def _print(console: Console, found: list[Audited], accepted: Mapping[str, str], graph: Graph) -> None:
    table = Table(title="who taught whom")
    for name in ("student", "finding", "teacher", "generations", "relation", "evidence"):
        table.add_column(name, justify="right" if name == "generations" else "left")
    for one in found:
        finding = f"{one.finding} (accepted: {accepted[one.student]})" if one.student in accepted else one.finding
        heads = [Text(visible(one.student)), Text(finding)]
        for exposure in one.exposures:
            name = exposure.teacher if exposure.role == "teacher" else f"{exposure.teacher} (judge)"
            table.add_row(*heads, Text(visible(name)), str(exposure.generations), exposure.relation, exposure.evidence)
            heads = [Text(""), Text("")]
        if not one.exposures:
            table.add_row(*heads, Text(visible(one.reason)), "", "", "")
    console.print(table)
    for problem in graph.problems:
        console.print(Text(f"! {visible(problem)}", "yellow"), soft_wrap=True)


def as_json(name: str, found: list[Audited], failed: list[Audited], problems: list[str]) -> dict[str, Any]:
    return {
        "schema": 1,
        "audit": name,
        "findings": [asdict(one) | {"failed": one in failed} for one in found],
        "problems": problems,
    }


def as_sarif(found: list[Audited], failed: list[Audited]) -> dict[str, Any]:
    """SARIF 2.1.0: one result per student."""
    results = [
        {
            "ruleId": one.finding.replace(" ", "-"),
            "level": "error" if one in failed else "note",
            "message": {"text": f"{one.student}: {one.finding}; {one.reason}"},
            "locations": [{"logicalLocations": [{"fullyQualifiedName": one.student, "kind": "resource"}]}],
        }
        for one in found
    ]
    rules = [{"id": name} for name in ("exposed", "unknown", "not-exposed-by-evidence")]
    driver = {"name": "undertow", "rules": rules}
    return {"$schema": SARIF, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
