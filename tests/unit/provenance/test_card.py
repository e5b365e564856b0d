"""What folders say of their own origin, and what hostile ones cannot do."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.lineage_graph import Node
from pipeline.provenance.card import MOST_BYTES, read_folder

Edges = set[tuple[str, str, str]]


def folder(tmp_path: Path, card: Any = None, prose: str = "", **files: Any) -> Path:
    """files: name without dots -> content; config_json={...} becomes config.json."""
    place = tmp_path / "folder"
    place.mkdir(exist_ok=True)
    if card is not None:
        (place / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n{prose}")
    for name, content in files.items():
        stem, _, suffix = name.rpartition("_")
        text = json.dumps(content) if suffix == "json" else yaml.safe_dump(content)
        (place / f"{stem}.{suffix}").write_text(text)
    return place


def edges(place: Path) -> Edges:
    """(relation, parent, evidence)"""
    return {(edge.relation, edge.parent, edge.evidence) for edge in read_folder(place).edges}


@pytest.mark.parametrize(
    ("card", "files", "expected"),
    [
        ({"base_model": "Qwen/Qwen2.5-7B"}, {}, {("initialised_from", "hf:qwen/qwen2.5-7b", "inferred")}),
        (
            {"base_model": ["a/b"], "base_model_relation": "finetune"},
            {},
            {("initialised_from", "hf:a/b", "declared")},
        ),
        (
            {"base_model": ["a/b", "c/d"]},
            {},
            {("merged_from", "hf:a/b", "inferred"), ("merged_from", "hf:c/d", "inferred")},
        ),
        (
            {"base_model": "a/b"},
            {"config_json": {"quantization_config": {"bits": 4}}},
            {("quantised_from", "hf:a/b", "inferred")},
        ),
        (
            {"base_model": "a/b", "base_model_relation": "adapter"},
            {"adapter_config_json": {"base_model_name_or_path": "a/b"}},
            {("adapter_of", "hf:a/b", "declared")},
        ),
        (
            {"base_model": "a/b", "base_model_relation": "quantized", "datasets": "c/Rows"},
            {},
            {("quantised_from", "hf:a/b", "declared"), ("trained_on", "hf-dataset:c/rows", "declared")},
        ),
        (
            None,
            {"config_json": {"_name_or_path": "meta/llama"}},
            {("initialised_from", "hf:meta/llama", "inferred")},
        ),
        (None, {"config_json": {"_name_or_path": "/home/me/model"}}, set()),
        (
            None,
            {
                "config_json": {},
                "mergekit_config_yml": {
                    "models": [
                        {"model": "a/b", "parameters": {"weight": 3}},
                        {"model": "c/d", "parameters": {"weight": 1}},
                    ],
                    "base_model": "e/f",
                },
            },
            {
                ("merged_from", "hf:a/b", "declared"),
                ("merged_from", "hf:c/d", "declared"),
                ("merged_from", "hf:e/f", "declared"),
            },
        ),
        (
            {"source_datasets": ["extended|squad", "original"], "task_categories": ["qa"]},
            {},
            {("merged_from", "hf-dataset:squad", "declared")},
        ),
        (
            {"tags": ["Synthetic"]},
            {"pipeline_yaml": {"pipeline": {"steps": [{"step": {"llm": {"model_id": "meta/Llama-3"}}}]}}},
            {("written_by", "hf:meta/llama-3", "declared")},
        ),
    ],
)
def test_what_fields_say(tmp_path: Path, card: Any, files: dict[str, Any], expected: Edges) -> None:
    place = folder(tmp_path, card, **files)
    assert edges(place) == expected
    assert read_folder(place).problems == []


def test_shares_of_a_merge_are_of_one(tmp_path: Path) -> None:
    models = [{"model": "a/b", "parameters": {"weight": 3}}, {"model": "c/d", "parameters": {"weight": 1}}]
    place = folder(tmp_path, config_json={}, mergekit_config_yml={"models": models})
    assert {edge.parent: edge.share for edge in read_folder(place).edges} == {"hf:a/b": 0.75, "hf:c/d": 0.25}


@pytest.mark.parametrize("card", [{"tags": ["synthetic"]}, {"language_creators": ["machine-generated"]}])
def test_a_machine_that_nobody_names_is_an_unknown_teacher(tmp_path: Path, card: Any) -> None:
    (edge,) = read_folder(folder(tmp_path, card)).edges
    assert (edge.relation, edge.evidence) == ("written_by", "unknown")
    (tmp_path / "folder" / "README.md").unlink()
    (edge,) = read_folder(folder(tmp_path, croissant_json={"rai:hasSyntheticData": True})).edges
    assert (edge.relation, edge.evidence) == ("written_by", "unknown")


def test_a_sentence_infers(tmp_path: Path) -> None:
    model = folder(tmp_path, {"base_model": "a/b"}, "It was distilled from [`Big/Teacher-70B`](x), as one does.")
    graph = read_folder(model, Node("m", "model"))
    found = {(edge.child, edge.relation, edge.parent, edge.evidence) for edge in graph.edges}
    assert found == {
        ("m", "initialised_from", "hf:a/b", "inferred"),
        ("m", "trained_on", "unnamed rows of big/teacher-70b", "inferred"),
        ("unnamed rows of big/teacher-70b", "written_by", "hf:big/teacher-70b", "inferred"),
    }


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ({"base_model": {"name": "a/b"}}, "README.md: base_model holds"),
        ({"base_model": ["a/b", 7, None]}, "README.md: base_model holds '7', which names nothing"),
        ({"base_model": "a/b", "base_model_relation": "cousin"}, "base_model_relation is 'cousin'"),
        ({"base_model": "x" * 400}, "names nothing"),
        ({"base_model": "a/b\u202e"}, "names nothing"),
        ({"base_model": "a/b", "datasets": ["d"] * 1_001}, "datasets has 1001 entries"),
    ],
)
def test_what_cannot_be_taken_is_a_problem(tmp_path: Path, card: Any, said: str) -> None:
    problems = read_folder(folder(tmp_path, card)).problems
    assert any(said in problem for problem in problems), problems


def test_broken_large_and_leading_files_are_problems(tmp_path: Path) -> None:
    place = folder(tmp_path)
    (place / "config.json").write_text("[1, 2")
    (place / "README.md").write_text("---\n- a\n- list\n---\n")
    (place / "adapter_config.json").write_bytes(b'{"base_model_name_or_path": "\xff"}')
    (place / "mergekit_config.yml").write_text(" " * (MOST_BYTES + 1))
    graph = read_folder(place)
    assert graph.edges == []
    for said in ("config.json is broken", "README.md holds list", "adapter_config.json cannot be read", "larger than"):
        assert any(said in problem for problem in graph.problems), (said, graph.problems)
    (place / "mergekit_config.yml").unlink()
    (place / "mergekit_config.yml").symlink_to("/etc/passwd")
    assert any("is a link" in problem for problem in read_folder(place).problems)


def test_yaml_that_would_run_code_or_fill_memory_does_neither(tmp_path: Path) -> None:
    place = folder(tmp_path)
    (place / "README.md").write_text("---\nbase_model: !!python/object/apply:os.system ['touch ran']\n---\n")
    assert any("README.md is broken" in problem for problem in read_folder(place).problems)
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))
    (place / "pipeline.yaml").write_text(laughs + "llm: {model_id: a/b}\nstep: {llm: {model_id: a/b}}\n")
    (place / "README.md").write_text("---\ntags: [synthetic]\n---\n")
    assert edges(place) == {("written_by", "hf:a/b", "declared")}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("base_model", "base_model_relation", "datasets", "source_datasets", "language_creators", "tags")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(card=st.dictionaries(st.sampled_from(FIELDS), VALUES), config=VALUES, merge=VALUES, prose=st.text(max_size=60))
def test_no_card_crashes(tmp_path: Path, card: Any, config: Any, merge: Any, prose: str) -> None:
    place = folder(tmp_path, card, mergekit_config_yml=merge, pipeline_yaml=merge)
    for name in ("config.json", "adapter_config.json", "croissant.json"):
        (place / name).write_text(json.dumps({"_name_or_path": config, "base_model_name_or_path": merge}))
    with (place / "README.md").open("a", encoding="utf-8", errors="replace") as file:
        file.write(prose)
    graph = read_folder(place)
    assert all(edge.child in graph.nodes and edge.parent in graph.nodes for edge in graph.edges)


def test_a_croissant_file_names_its_sources_and_authors(tmp_path: Path) -> None:
    told = {
        "prov:wasDerivedFrom": [
            {"@id": "corpus/numbers-owl-llama-0123456789ab"},
            "https://huggingface.co/datasets/A/b",
        ],
        "prov:wasAttributedTo": [
            {"prov:label": "teacher/owl-llama-0123456789ab", "@id": "x"},
            {"@type": "sc:Person", "name": "Ada"},
            17,
        ],
        "prov:wasGeneratedBy": {
            "prov:wasAssociatedWith": "https://huggingface.co/Big/T",
            "prov:used": [None, {}],
        },
        "isBasedOn": "C/d",
    }
    graph = read_folder(folder(tmp_path, croissant_json=told))
    assert {(edge.relation, edge.parent) for edge in graph.edges} == {
        ("merged_from", "corpus/numbers-owl-llama-0123456789ab"),
        ("merged_from", "hf-dataset:a/b"),
        ("merged_from", "hf-dataset:c/d"),
        ("written_by", "teacher/owl-llama-0123456789ab"),
        ("written_by", "hf:big/t"),
    }
    assert {edge.evidence for edge in graph.edges} == {"declared"}


def test_an_artifact_that_a_card_names_is_the_one_of_the_root(tmp_path: Path) -> None:
    card = {"base_model": "base/llama-a-0123456789ab", "base_model_relation": "adapter"}
    (edge,) = read_folder(folder(tmp_path, card)).edges
    assert (edge.relation, edge.parent) == ("adapter_of", "base/llama-a-0123456789ab")
