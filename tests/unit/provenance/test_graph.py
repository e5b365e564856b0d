"""The lineage graph: ancestors, descendants, generations, cycles."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.lineage_graph import Edge, Evidence, Graph, Node, Relation, hub_model


def graph(*edges: tuple[str, Relation, str]) -> Graph:
    """Of models alone: what kind a node is makes no difference here."""
    made = Graph()
    for child, relation, parent in edges:
        for name in (child, parent):
            made.add(Node(name, "model"))
        made.relate(Edge(child, relation, parent, "declared", "test"))
    return made


CHAIN = graph(
    ("student", "trained_on", "rows"),
    ("rows", "written_by", "teacher"),
    ("teacher", "trained_on", "older rows"),
    ("older rows", "written_by", "grandteacher"),
    ("student", "initialised_from", "base"),
    ("teacher", "initialised_from", "base"),
)


def test_a_generation_is_a_step_of_teaching() -> None:
    found = {one.node.id: one.generations for one in CHAIN.ancestors("student")}
    assert found == {"rows": 0, "base": 0, "teacher": 1, "older rows": 1, "grandteacher": 2}
    assert {one.node.id: one.generations for one in CHAIN.descendants("grandteacher")} == {
        "older rows": 1,
        "teacher": 1,
        "rows": 2,
        "student": 2,
    }


def test_the_least_number_of_generations_counts() -> None:
    short = graph(
        ("student", "trained_on", "mix"),
        ("mix", "merged_from", "far"),
        ("far", "written_by", "pupil"),
        ("pupil", "trained_on", "near"),
        ("near", "written_by", "teacher"),
        ("mix", "merged_from", "near"),
    )
    assert {one.node.id: one.generations for one in short.ancestors("student")}["teacher"] == 1


def test_a_cycle_is_told_and_ends_no_search() -> None:
    loop = graph(
        ("a", "merged_from", "b"), ("b", "merged_from", "c"), ("c", "merged_from", "a"), ("d", "adapter_of", "a")
    )
    assert loop.cycles() == [["a", "b", "c"]]
    assert {one.node.id for one in loop.ancestors("a")} == {"b", "c"}
    assert graph(("a", "adapter_of", "a")).cycles() == [["a"]]
    assert CHAIN.cycles() == []


def test_of_several_sources_the_best_evidence_counts() -> None:
    made = graph(("a", "adapter_of", "b"))
    for evidence in ("unknown", "measured", "inferred"):
        made.relate(Edge("a", "adapter_of", "b", evidence, evidence))  # type: ignore[arg-type]
    assert [edge.evidence for edge in made.strongest()] == ["measured"]
    assert len(made.edges) == 4


def test_sources_that_disagree_about_a_node_are_a_problem() -> None:
    made = Graph()
    made.add(Node("x", "model", (("digest", "1"),)))
    made.add(Node("x", "data set", (("digest", "1"), ("size", "2"))))
    assert made.problems == ["x is a model in one source and a data set in another"]
    assert made.nodes["x"] == Node("x", "model", (("digest", "1"), ("size", "2")))


def test_the_hub_takes_names_in_any_case() -> None:
    assert hub_model("Qwen/Qwen2.5") == hub_model("qwen/QWEN2.5") == "hf:qwen/qwen2.5"


PAIRS = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(["written_by", "trained_on", "adapter_of"]), st.integers(0, 12)),
    max_size=40,
)


@settings(deadline=None)
@given(PAIRS)
def test_descendants_are_ancestors_the_other_way_round(pairs: list[tuple[int, Relation, int]]) -> None:
    made = graph(*((str(child), relation, str(parent)) for child, relation, parent in pairs))
    up = {(a, one.node.id): one.generations for a in made.nodes for one in made.ancestors(a)}
    down = {(one.node.id, b): one.generations for b in made.nodes for one in made.descendants(b)}
    assert up == down
    looped = {name for group in made.cycles() for name in group}
    assert all(
        ((a, b) in up and (b, a) in up) == (a in looped and b in looped) or a == b for a, b in up if (b, a) in up
    )


@pytest.mark.slow
def test_ten_thousand_nodes_take_seconds() -> None:
    """A chain is the worst for a search that calls itself; the issue asks for 3 s."""
    evidence: Evidence = "declared"
    made = Graph()
    for number in range(10_000):
        made.add(Node(str(number), "model"))
    for number in range(1, 10_000):
        relation: Relation = "written_by" if number % 2 else "trained_on"
        made.relate(Edge(str(number), relation, str(number - 1), evidence, "test"))
        made.relate(Edge(str(number), "merged_from", str(number // 2), evidence, "test"))
    started = time.process_time()
    assert len(made.ancestors("9999")) == len(made.descendants("0")) == 9_999
    assert made.cycles() == []
    assert time.process_time() - started < 3
