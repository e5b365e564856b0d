"""The page of a family audit: its verdict, every finding with its evidence and measured transfer, and the lineage.

As the study's page, it loads nothing, runs no script, and is the same bytes for the same content.
"""

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pipeline.analysis.design import METRICS
from pipeline.core.lineage_graph import Graph, by_end
from pipeline.provenance import render
from pipeline.provenance.family import Audited
from pipeline.provenance.measured import Measured
from pipeline.report.figures import VERDICT_MARKS, interval, signed
from pipeline.report.template import template

MOST_STUDENTS = 500  # on the page; audit.json has all
MOST_MEASURED = 5  # numbers beside one teacher
MOST_PROBLEMS = 100
MOST_NODES = 60  # in the picture; more are too small to read
MARKS = {
    "exposed": "▲",
    "unknown": "?",
    "not exposed by evidence": "○",
    "measured": "●",
    "attested": "◉",
    "declared": "◐",
    "inferred": "◔",
}
# What the page says of the words in it.
WORDS: Mapping[str, Mapping[str, str]] = {
    "Findings": {
        "exposed": "A teacher shares the student's weights, its initialisation or, as somebody declares, its family. "
        "Traits pass between such models through data that says nothing about them.",
        "unknown": "Something is missing: how a teacher is related to the student, who wrote its data, or what chose "
        "it. What nobody knows never counts as harmless.",
        "not exposed by evidence": "Every teacher is known by measured or attested facts, and none is of the family.",
    },
    "Relations": {
        "same weights": "The teacher is the student's own base, or that base with a system prompt.",
        "same initialisation": "Both come from one model by measured or attested facts, or their weights say so.",
        "same family, declared": "Somebody says that both come from one model, or it is inferred.",
        "different by measurement": "They began from two drawn initialisations, or their weights say so.",
        "unknown": "None of these. The names of two models say nothing.",
    },
    "Evidence": {
        "measured": "A manifest of undertow whose digests agree with what is there, or the weights themselves.",
        "attested": "A signature.",
        "declared": "A field that is made for it, in a file that anybody can write.",
        "inferred": "A by-product, or a sentence.",
        "unknown": "Nothing says it.",
    },
}


@dataclass(frozen=True)
class AuditContent:
    """What the files of an audit show.

    failed: students whose finding breaks the policy, which fails on `fail_on`. accepted: student -> why its finding is
    accepted. graph: the lineage, and the problems of its sources.
    """

    name: str
    found: Sequence[Audited]
    failed: Collection[str]
    fail_on: Sequence[str]
    accepted: Mapping[str, str]
    graph: Graph


def as_html(content: AuditContent) -> str:
    shown = sorted(content.found, key=lambda one: one.student not in content.failed)[:MOST_STUDENTS]
    part = _leading_to(content)
    return template("audit.html.j2").render(
        c=content,
        shown=shown,
        counts={finding: sum(one.finding == finding for one in content.found) for finding in WORDS["Findings"]},
        picture=_picture(part) if len(part.nodes) <= MOST_NODES else "",
        nodes=len(part.nodes),
        most_nodes=MOST_NODES,
        most_measured=MOST_MEASURED,
        problems=content.graph.problems[:MOST_PROBLEMS],
        words=WORDS,
        marks=VERDICT_MARKS | MARKS,
        number=number,
    )


def number(one: Measured) -> str:
    """The estimate with unit and interval; "" if the cell was not measured. What is no γ is told by name."""
    if one.verdict == "not measured":
        return ""
    name = "γ" if one.comparison == "trait" else one.comparison
    return f"{name} {signed(one.estimate)}{METRICS.get(one.metric, '')} {interval(one.low, one.high)}"


def _leading_to(content: AuditContent) -> Graph:
    """The audited students and everything that they were made with."""
    edges = by_end(content.graph.edges, "child")
    waiting = [one.student for one in content.found]
    kept = set(waiting)
    while waiting:
        parents = {edge.parent for edge in edges.get(waiting.pop(), ())} - kept
        kept |= parents
        waiting += parents
    return content.graph.part(kept)


def _picture(graph: Graph) -> str:
    """A data URI. An image can neither run nor load anything."""
    return "data:image/svg+xml;base64," + base64.b64encode(render.as_svg(graph)).decode()
