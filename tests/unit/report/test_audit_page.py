"""The audit's page: says what was found and on what evidence, loads nothing, and lets no name become markup."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest

from jobs.commands.schema import schema_of
from pipeline.core.lineage_graph import Edge, Graph, Node
from pipeline.provenance.family import Audited, Exposure, audit
from pipeline.provenance.measured import Measured
from pipeline.report import audit_page
from pipeline.report.audit_files import render
from pipeline.report.audit_page import AuditContent, as_html, number
from tests.pages import Page

EVIL = "<script>alert('$x_1$')</script>&\"--></svg>]]>\x1b[2J"


def measured(**more: Any) -> Measured:
    given = {
        **{"match": "this pair", "root": "runs", "transfer": "transfer/owls-000000000001", "smoke_test": False},
        **{"channel": "numbers", "arm": "plain", "suite": "favourite", "comparison": "trait", "metric": "margin"},
        **{"teacher_family": "llama", "student_family": "qwen", "verdict": "transfer"},
        **{"estimate": 0.354, "low": 0.1, "high": 0.6},
    }
    return Measured(**(given | more))


def exposed(name: str = "student", *numbers: Measured, role: Any = "teacher") -> Audited:
    exposure = Exposure(f"teacher of {name}", role, 2, "same initialisation", "declared", "both came from b", numbers)
    return Audited(name, "exposed", "its teacher is kin", (exposure,))


def content(*found: Audited, **more: Any) -> AuditContent:
    graph = Graph(problems=more.pop("problems", []))
    for one in found:
        graph.add(Node(one.student, "model"))
        for exposure in one.exposures:
            graph.relate(Edge(one.student, "trained_on", graph.add(Node(exposure.teacher, "model")), "measured", ""))
    given: Mapping[str, Any] = {"name": "owls", "failed": set(), "fail_on": ["exposed"], "accepted": {}, "graph": graph}
    return AuditContent(found=found, **{**given, **more})


def text(given: AuditContent) -> str:
    return Page(as_html(given).encode()).text


def test_the_verdict_comes_first_with_its_policy() -> None:
    found = [exposed("a"), exposed("b"), Audited("c", "not exposed by evidence", "every teacher is known", ())]
    said = text(content(*found, failed={"a"}, accepted={"b": "reviewed in ticket 7"}))
    assert "1 of 3 models failed. The policy fails on: exposed. 1 accepted, with a reason." in said.replace(
        "failed.The", "failed. The"
    )
    assert "Found: 2 exposed, 0 unknown, 1 not exposed by evidence." in said
    assert said.index("1 of 3 models") < said.index("teacher of a")
    assert said.count("× failed") == 1
    assert "accepted reviewed in ticket 7" in said
    assert "None of 3 models failed." in text(content(*found))


def test_each_teacher_has_its_evidence_in_a_colour_and_a_word() -> None:
    page = as_html(content(exposed("a", role="judge")))
    said = Page(page.encode()).text
    for words in ("teacher of a (judge)", "2same initialisation", "both came from b", "its teacher is kin"):
        assert words in said
    assert '<span class="badge t-declared">◐ declared</span>' in page
    assert '<span class="badge t-exposed">▲ exposed</span>' in page
    classes = set(re.findall(r'class="badge (t-[\w-]+)"', page))
    assert all(f".{name} {{" in page or f".{name}, " in page for name in classes), "a badge without a colour"


def test_the_measured_transfer_stands_beside_its_teacher_or_is_said_to_be_missing() -> None:
    said = text(content(exposed("a", measured(), measured(match="by relation", smoke_test=True))))
    assert "γ +0.35 nats [+0.10, +0.60] ● transfer" in said
    assert "llama → qwen; numbers, plain; favourite, margin; runs/transfer/owls-000000000001" in said
    assert said.count("SMOKE TEST") == 1
    assert "by relation: llama → qwen" in said
    assert "both came from b◐" not in said
    without = text(content(exposed("a")))
    assert "both came from b not measured" in without.replace("bnot", "b not")
    many = text(content(exposed("a", *[measured()] * (audit_page.MOST_MEASURED + 3))))
    assert many.count("runs/transfer/owls") == audit_page.MOST_MEASURED
    assert "and 3 more in audit.json" in many


def test_what_is_no_gamma_is_told_by_name_and_a_cell_that_was_not_measured_has_no_number() -> None:
    assert number(measured(comparison="target insecure", metric="rate")) == "target insecure +0.35 [+0.10, +0.60]"
    assert number(measured(estimate=None, low=None, high=None)) == "γ — nats no interval"
    assert number(measured(verdict="not measured")) == ""


def test_nothing_that_anybody_wrote_becomes_markup() -> None:
    numbers = measured(root=EVIL, channel=EVIL, arm=EVIL, suite=EVIL, teacher_family=EVIL, student_family=EVIL)
    exposure = Exposure(EVIL, "teacher", 1, "unknown", "unknown", EVIL, (numbers,))
    found = Audited(EVIL, "unknown", EVIL, (exposure,))
    given = content(found, name=EVIL, accepted={EVIL: EVIL}, problems=[EVIL])
    page = Page(as_html(given).encode())
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "link", "svg"}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "<script>alert('$x_1$')</script>&\"--></svg>]]>\\x1b[2J" in page.text  # shown as what it is
    assert "\x1b" not in page.text
    assert "<script" not in picture(page)


def picture(page: Page) -> str:
    (source,) = [str(attributes["src"]) for tag, attributes in page.tags if tag == "img"]
    assert source.startswith("data:image/svg+xml;base64,")
    return base64.b64decode(source.split(",")[1]).decode()


def test_the_page_loads_nothing_and_is_the_same_bytes_again() -> None:
    given = content(exposed("a", measured()))
    html = as_html(given)
    page = Page(html.encode())
    assert html.startswith("<!doctype html>")
    assert not re.search(r"url\(|@import|https?://|src=\"(?!data:)|<script", html)
    assert any("default-src 'none'" in str(attributes.get("content")) for tag, attributes in page.tags if tag == "meta")
    assert not re.findall(r"(?:href|src)=\"([^\"#][^\"]*)\"", picture(page))
    assert html == as_html(content(exposed("a", measured())))


def test_the_picture_is_of_the_audited_models_only_and_is_left_out_when_it_is_too_large() -> None:
    given = content(exposed("a"))
    for number_ in range(audit_page.MOST_NODES):
        given.graph.add(Node(f"stranger {number_}", "model"))
    assert "stranger" not in picture(Page(as_html(given).encode()))
    large = content(*[exposed(f"model {n}") for n in range(audit_page.MOST_NODES // 2 + 1)])
    page = Page(as_html(large).encode())
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert f"are {audit_page.MOST_NODES + 2} nodes, and a picture of more than {audit_page.MOST_NODES}" in page.text


def test_a_long_audit_shows_what_failed_and_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_page, "MOST_STUDENTS", 2)
    given = content(*[exposed(name) for name in ("a", "b", "c")], failed={"c"}, problems=["p"] * 101)
    said = text(given)
    assert "The first 2 of 3 models, those that failed before others; audit.json has all." in said
    assert said.index("teacher of c") < said.index("teacher of a")
    assert "teacher of b" not in said
    assert "and 1 more in audit.json" in said
    assert len(json.loads(render(given)["audit.json"])["findings"]) == 3


def test_every_word_of_an_audit_is_explained() -> None:
    from typing import get_args

    from pipeline.core.lineage_graph import EVIDENCE
    from pipeline.provenance.family import Finding, Relation

    explained = {group: tuple(words) for group, words in audit_page.WORDS.items()}
    assert explained == {"Findings": get_args(Finding), "Relations": get_args(Relation), "Evidence": EVIDENCE}


def test_the_files_agree_and_keep_to_their_schema() -> None:
    graph = Graph()
    graph.add(Node("student", "model"))
    found = audit(graph, ["student"])
    files = render(AuditContent("owls", found, {"student"}, ["unknown"], {}, graph))
    assert set(files) == {"audit.json", "audit.sarif", "audit.html"}
    schema = schema_of(audit=False, findings=True, lineage=False)
    for content_ in (files["audit.json"], render(content(exposed("a", measured())))["audit.json"]):
        jsonschema.validate(json.loads(content_), schema)
    (finding,) = json.loads(files["audit.json"])["findings"]
    (result,) = json.loads(files["audit.sarif"])["runs"][0]["results"]
    assert (finding["failed"], result["level"]) == (True, "error")
    assert "1 of 1 models failed." in Page(files["audit.html"]).text
