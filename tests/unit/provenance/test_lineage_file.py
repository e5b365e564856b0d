"""Lineage files: what a user writes, and what undertow has written."""

import json
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.core.lineage_graph import Edge, Graph, Node
from pipeline.provenance.lineage_file import as_json, read_file
from pipeline.provenance.render import as_lines, as_mermaid, draw

WRITTEN = """
schema: 1
nodes:
  - {id: helper, kind: model, details: {digest: abc}}
edges:
  - {child: helper, relation: trained_on, parent: chats, share: 0.5}
  - {child: chats, relation: written_by, parent: "hf:big/teacher", evidence: measured}
  - {child: chats, relation: judged_by, parent: referee}
"""


def test_what_a_user_writes_is_declared_at_most(tmp_path: Path) -> None:
    (tmp_path / "lineage.yaml").write_text(WRITTEN)
    graph = read_file(tmp_path / "lineage.yaml")
    assert {name: node.kind for name, node in graph.nodes.items()} == {
        "helper": "model",
        "chats": "data set",
        "hf:big/teacher": "model",
        "referee": "judge",
    }
    assert [edge.evidence for edge in graph.edges] == ["declared"] * 3
    assert graph.edges[0].share == 0.5
    assert graph.edges[1].source == f"{tmp_path / 'lineage.yaml'}: edges.1"


def test_what_undertow_has_written_is_read_again(tmp_path: Path) -> None:
    graph = Graph(problems=["a problem"])
    for node in (Node("a", "model", (("digest", "1"),)), Node("b", "data set")):
        graph.add(node)
    graph.relate(Edge("a", "trained_on", "b", "inferred", "somewhere", 0.25))
    (tmp_path / "lineage.json").write_text(json.dumps(as_json(graph)))
    again = read_file(tmp_path / "lineage.json")
    assert again.nodes == graph.nodes
    assert again.problems == graph.problems
    assert [(e.child, e.relation, e.parent, e.evidence, e.share) for e in again.edges] == [
        ("a", "trained_on", "b", "inferred", 0.25)
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema: 2\n", "schema: Input should be 1"),
        ("[]", "lineage.yaml: the file: "),
        ("edges: [{child: a, relation: knows, parent: b}]", "edges.0.relation"),
        ("edges: [{child: a, relation: adapter_of, parent: b, share: 2}]", "edges.0.share"),
        ("edges: {", "cannot be read as a lineage file"),
        ("nodes: [{id: a, kind: model, colour: red}]", "nodes.0.colour"),
    ],
)
def test_a_file_that_is_none_is_refused_naming_the_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "lineage.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        read_file(tmp_path / "lineage.yaml")


def hostile() -> Graph:
    graph = Graph()
    name = '"]; click n0 "javascript:alert(1)"<script>`$\\frac{\x1b[31m'
    for node in (Node(name, "model"), Node("b", "model"), Node("alone", "judge")):
        graph.add(node)
    graph.relate(Edge(name, "merged_from", "b", "declared", "card"))
    graph.relate(Edge("b", "merged_from", name, "measured", "card"))
    return graph


def test_names_are_text_in_a_diagram_and_on_a_terminal() -> None:
    graph = hostile()
    diagram = as_mermaid(graph)
    assert "<script>" not in diagram
    assert '"]; click' not in diagram
    assert "\x1b" not in diagram
    assert diagram.count("-->") == diagram.count("-.->") == 1
    assert "\x1b" not in "".join(as_lines("b", graph.ancestors("b")))


def test_a_picture_is_drawn_of_graphs_with_cycles_and_of_large_ones(tmp_path: Path) -> None:
    draw(hostile(), tmp_path / "small.svg")
    assert "<svg" in (tmp_path / "small.svg").read_text()
    many = Graph()
    for number in range(400):
        many.add(Node(str(number), "model"))
        many.relate(Edge(str(number), "merged_from", str(number // 20), "declared", "test"))
    draw(many, tmp_path / "large.svg")
    assert "200 of 400 nodes" in (tmp_path / "large.svg").read_text()
