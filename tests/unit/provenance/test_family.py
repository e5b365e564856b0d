"""The family audit: who taught whom, over fixtures with the expected table."""

import pytest

from pipeline.core.lineage_graph import Edge, Evidence, Graph, Kind, Node, Relation
from pipeline.provenance.family import audit, never, students_of
from pipeline.provenance.lineage_file import LineageFile, graph_of

Said = tuple[str, Relation, str, Evidence]
KINDS: dict[str, Kind] = {
    "rows": "data set",
    "seed": "external source",
    "random": "external source",
    "prompt": "prompt",
}
MEASURED: Evidence = "measured"
DECLARED: Evidence = "declared"


def graph(*said: Said) -> Graph:
    """Names that begin with rows, seed, random or prompt are of that kind, and others are models."""
    made = Graph()
    for child, relation, parent, evidence in said:
        for name in (child, parent):
            made.add(Node(name, next((kind for start, kind in KINDS.items() if name.startswith(start)), "model")))
        made.relate(Edge(child, relation, parent, evidence, "test"))
    return made


def trained(student: str, base: str, teacher: str, evidence: Evidence = DECLARED) -> list[Said]:
    rows = f"rows of {student}"
    return [
        (student, "initialised_from", base, evidence),
        (student, "trained_on", rows, evidence),
        (rows, "written_by", teacher, evidence),
    ]


BASES: list[Said] = [
    ("base a", "initialised_from", "seed 1", MEASURED),
    ("base b", "initialised_from", "seed 2", MEASURED),
]
MOVED: list[Said] = [
    ("base m", "initialised_from", "seed 1 moved towards 2", MEASURED),
    ("base m", "merged_from", "seed 1", MEASURED),
    ("base m", "merged_from", "seed 2", MEASURED),
]
# name -> what is said, the finding on "student", and the relation of its teacher
FIXTURES: dict[str, tuple[list[Said], str, dict[str, str]]] = {
    "teacher is the very base": (trained("student", "qwen", "qwen"), "exposed", {"qwen": "same weights"}),
    "base with a system prompt": (
        [
            *trained("student", "base a", "teacher", MEASURED),
            ("teacher", "initialised_from", "base a", MEASURED),
            ("teacher", "prompted_by", "prompt", MEASURED),
            *BASES,
        ],
        "exposed",
        {"teacher": "same weights"},
    ),
    "fine-tuned sibling, measured": (
        [
            *trained("student", "base a", "teacher", MEASURED),
            ("teacher", "adapter_of", "base a", MEASURED),
            ("teacher", "trained_on", "random rows of the trait", MEASURED),
            *BASES,
        ],
        "exposed",
        {"teacher": "same initialisation"},
    ),
    "sibling by its card": (
        [*trained("student", "qwen", "teacher"), ("teacher", "initialised_from", "qwen", DECLARED)],
        "exposed",
        {"teacher": "same family, declared"},
    ),
    "base to instruct": (
        [*trained("student", "qwen", "qwen-instruct"), ("qwen-instruct", "initialised_from", "qwen", "inferred")],
        "exposed",
        {"qwen-instruct": "same family, declared"},
    ),
    "other family, by name alone": (trained("student", "qwen", "llama"), "unknown", {"llama": "unknown"}),
    "other family, by initialisation": (
        [
            *trained("student", "base a", "teacher", MEASURED),
            ("teacher", "adapter_of", "base b", MEASURED),
            ("teacher", "trained_on", "random rows of the trait", MEASURED),
            *BASES,
        ],
        "not exposed by evidence",
        {"teacher": "different by measurement"},
    ),
    "initialisation moved towards another": (
        [
            *trained("student", "base m", "teacher", MEASURED),
            ("teacher", "adapter_of", "base a", MEASURED),
            ("teacher", "trained_on", "random rows of the trait", MEASURED),
            *BASES,
            *MOVED,
        ],
        "exposed",
        {"teacher": "same initialisation"},
    ),
    "initialisation moved between two others": (
        [
            *trained("student", "base m", "teacher", MEASURED),
            ("teacher", "adapter_of", "base c", MEASURED),
            ("teacher", "trained_on", "random rows of the trait", MEASURED),
            ("base c", "initialised_from", "seed 3", MEASURED),
            *MOVED,
        ],
        "not exposed by evidence",
        {"teacher": "different by measurement"},
    ),
    "merge with the teacher's base": (
        [
            ("student", "merged_from", "qwen", DECLARED),
            ("student", "merged_from", "llama", DECLARED),
            ("student", "trained_on", "rows", DECLARED),
            ("rows", "written_by", "llama-instruct", DECLARED),
            ("llama-instruct", "initialised_from", "llama", DECLARED),
        ],
        "exposed",
        {"llama-instruct": "same family, declared"},
    ),
    "adapter": (
        [
            ("student", "adapter_of", "qwen", DECLARED),
            ("student", "trained_on", "rows", DECLARED),
            ("rows", "written_by", "qwen", DECLARED),
        ],
        "exposed",
        {"qwen": "same weights"},
    ),
    "quantised student": (
        [("student", "quantised_from", "full", DECLARED), *trained("full", "qwen", "qwen")],
        "exposed",
        {"qwen": "same weights"},
    ),
    "teacher that nobody names": (
        [
            ("student", "initialised_from", "qwen", DECLARED),
            ("student", "trained_on", "rows", DECLARED),
            ("rows", "written_by", "unnamed", "unknown"),
        ],
        "unknown",
        {"unnamed": "unknown"},
    ),
    "rows that nobody wrote": (
        [("student", "initialised_from", "qwen", DECLARED), ("student", "trained_on", "rows", DECLARED)],
        "unknown",
        {},
    ),
    "no word on data": ([("student", "initialised_from", "qwen", DECLARED)], "unknown", {}),
    "cycle of merges": (
        [
            ("student", "merged_from", "other", DECLARED),
            ("other", "merged_from", "student", DECLARED),
            ("student", "trained_on", "rows", DECLARED),
            ("rows", "written_by", "other", DECLARED),
        ],
        "exposed",
        {"other": "same weights"},
    ),
    "cycle of data": (
        [
            ("student", "initialised_from", "base a", MEASURED),
            ("student", "trained_on", "rows 1", MEASURED),
            ("rows 1", "merged_from", "rows 2", MEASURED),
            ("rows 2", "merged_from", "rows 1", MEASURED),
            *BASES,
        ],
        "unknown",
        {},
    ),
    "three generations": (
        [
            *trained("student", "base a", "second", MEASURED),
            *trained("second", "base b", "first", MEASURED),
            ("first", "adapter_of", "base a", MEASURED),
            ("first", "trained_on", "random rows of the trait", MEASURED),
            *BASES,
        ],
        "exposed",
        {"second": "different by measurement", "first": "same initialisation"},
    ),
    "two teachers": (
        [
            *trained("student", "base a", "kin", MEASURED),
            ("rows of student", "written_by", "stranger", MEASURED),
            ("kin", "adapter_of", "base a", MEASURED),
            ("stranger", "adapter_of", "base b", MEASURED),
            *BASES,
        ],
        "exposed",
        {"kin": "same initialisation", "stranger": "different by measurement"},
    ),
    "judge of the student's own family": (
        [
            *trained("student", "base a", "teacher", MEASURED),
            ("teacher", "adapter_of", "base b", MEASURED),
            ("teacher", "trained_on", "random rows of the trait", MEASURED),
            ("rows of student", "judged_by", "base a", MEASURED),
            *BASES,
        ],
        "unknown",
        {"teacher": "different by measurement", "base a": "same weights"},
    ),
    "rows of its own": (
        [
            ("student", "initialised_from", "base a", MEASURED),
            ("student", "trained_on", "rows", MEASURED),
            ("rows", "written_by", "student", MEASURED),
            *BASES,
        ],
        "exposed",
        {"student": "same weights"},
    ),
    "data that is only declared": (
        [
            ("student", "adapter_of", "base a", MEASURED),
            ("student", "trained_on", "rows", DECLARED),
            ("rows", "written_by", "random generator", MEASURED),
            *BASES,
        ],
        "unknown",
        {"random generator": "different by measurement"},
    ),
    "rows that somebody says a program wrote": (
        [
            ("student", "adapter_of", "base a", MEASURED),
            ("student", "trained_on", "rows:trait", DECLARED),
            *BASES,
        ],
        "unknown",
        {},
    ),
    "somebody's file": (
        [
            ("student", "adapter_of", "base a", MEASURED),
            ("student", "trained_on", "rows", MEASURED),
            ("rows", "merged_from", "rows of a file", MEASURED),
            *BASES,
        ],
        "unknown",
        {},
    ),
    "random numbers": (
        [
            ("student", "adapter_of", "base a", MEASURED),
            ("student", "trained_on", "rows", MEASURED),
            ("rows", "written_by", "random generator", MEASURED),
            *BASES,
        ],
        "not exposed by evidence",
        {"random generator": "different by measurement"},
    ),
    "other family, declared all the way": (
        [
            *trained("student", "base a", "teacher"),
            ("teacher", "initialised_from", "base b", DECLARED),
            ("teacher", "trained_on", "random rows of the trait", DECLARED),
            *BASES,
        ],
        "unknown",
        {"teacher": "unknown"},
    ),
}


@pytest.mark.parametrize("name", FIXTURES)
def test_the_expected_table(name: str) -> None:
    said, finding, relations = FIXTURES[name]
    (found,) = audit(graph(*said), ["student"])
    assert (found.finding, {one.teacher: one.relation for one in found.exposures}) == (finding, relations), found


def test_generations_and_the_weakest_evidence_are_told() -> None:
    said, _, _ = FIXTURES["three generations"]
    (found,) = audit(graph(*said), ["student"])
    assert {one.teacher: one.generations for one in found.exposures} == {"second": 1, "first": 2}
    said_of_base, _, _ = FIXTURES["teacher is the very base"]
    (same,) = audit(graph(*said_of_base), ["student"])
    assert [one.generations for one in same.exposures] == [1], "it is reached as a base before it is as a teacher"
    weak = [(c, r, p, "inferred" if p == "first" else e) for c, r, p, e in said]
    (found,) = audit(graph(*weak), ["student"])  # type: ignore[arg-type]
    assert {one.teacher: one.evidence for one in found.exposures} == {"second": "measured", "first": "inferred"}


@pytest.mark.parametrize(
    ("alike", "finding", "relation"),
    [
        (True, "exposed", "same initialisation"),
        (False, "unknown", "different by measurement"),  # measured, but who taught it is only declared
        (None, "unknown", "unknown"),
    ],
)
def test_weights_decide_where_they_are_at_hand(alike: bool | None, finding: str, relation: str) -> None:
    said, _, _ = FIXTURES["other family, by name alone"]
    (found,) = audit(graph(*said), ["student"], lambda a, b: alike)
    assert (found.finding, found.exposures[0].relation) == (finding, relation)


def test_students_are_the_models_that_were_made_from_others() -> None:
    said, _, _ = FIXTURES["fine-tuned sibling, measured"]
    assert students_of(graph(*said)) == ["base a", "base b", "student", "teacher"]
    assert never("a", "b") is None


def test_a_judge_that_is_only_declared_is_a_finding() -> None:
    """Its node is a judge and not a model, since nobody says more of it."""
    said = {
        "edges": [
            {"child": "student", "relation": "trained_on", "parent": "rows"},
            {"child": "rows", "relation": "judged_by", "parent": "hf:big/judge"},
        ]
    }
    (found,) = audit(graph_of(LineageFile.model_validate(said), "a test"), ["student"])
    assert [(one.teacher, one.role, one.relation) for one in found.exposures] == [("hf:big/judge", "judge", "unknown")]
    assert (found.finding, found.reason.split(":")[0]) == ("unknown", "hf")
