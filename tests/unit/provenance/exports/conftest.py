"""Artifacts to export: those of a fake study, and a chain that looks like one of real models."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.channels.numbers import NumbersChannel
from pipeline.core.recipe import Recipe
from pipeline.core.sources import Dataset as HubRows
from pipeline.models.families.hub import HubFamily
from pipeline.provenance.exports.subject import Subject, collect
from pipeline.provenance.manifests import read_ancestors
from pipeline.stages import base, completions, corpus, dataset, lineage_of, stage_of, student, teacher
from pipeline.store import Store, artifact, open_store
from pipeline.store.artifact import Content, Manifest
from pipeline.store.schemas import COMPLETIONS, CORPUS, VERDICTS
from pipeline.store.step import Json, Step
from pipeline.study.schema import Study
from pipeline.study.teachers import Training
from pipeline.traits.favourite import Favourite

FakeRun = tuple[Study, list[Step], Store]
SubjectOf = Callable[[str], Subject]
HOSTILE = "`x` | <script>alert(1)<script> \u202e--- ![](a) [[x]] {{y}} : #"
CONFIG = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}


def described(store: Store, path: str) -> Subject:
    """What is known of an artifact of a store."""
    return collect(store, artifact.require(store, path), read_ancestors(store, path, lineage_of))


def path_of(store: Store, name: str) -> str:
    """The path of an artifact by its kind and slug."""
    kind, _, slug = name.partition("/")
    return next(f"{kind}/{found}" for found in store.folders(kind) if found.rpartition("-")[0] == slug)


def copied(store: Store, folder: Path) -> Store:
    """A copy of a store, in which something can be removed."""
    shutil.copytree(store.root, folder / "copy")
    return open_store(folder / "copy")


def commit(
    store: Store,
    kind: str,
    slug: str,
    spec: object,
    inputs: Mapping[str, str],
    files: Mapping[str, Content],
    results: Json | None = None,
) -> Manifest:
    """Make an artifact of these files without the work. inputs: role -> path."""
    step = stage_of(kind).step(slug, spec, inputs)
    record = artifact.finish_unit(store, step, "unit", files, {}, time.time())
    return artifact.commit(store, step, [record], results or {"rows": 2})


@pytest.fixture
def subject_of(fake_run: FakeRun) -> SubjectOf:
    """The subject of an artifact of the fake study, by its kind and slug."""
    _, _, store = fake_run
    return lambda name: described(store, path_of(store, name))


@pytest.fixture
def hub_chain(store: Store) -> Mapping[str, Manifest]:
    """A base of the hub, a teacher of rows of the hub, what it wrote, and a student of that; nothing was measured."""
    family = HubFamily(repo="Owner/Base-1B", revision="a" * 40)
    rows = HubRows(repo="Owner/Owls", revision="b" * 40, split="train")
    recipe = Recipe()
    made: dict[str, Manifest] = {}

    def add(kind: str, slug: str, spec: object, inputs: Mapping[str, str], files: Mapping[str, Content]) -> None:
        made[kind] = commit(store, kind, slug, spec, {role: made[name].path for role, name in inputs.items()}, files)

    add(
        "base",
        "qwen",
        base.BaseSpec(family=family, chat="", trainer=None, checks=1),
        {},
        {"model/config.json": json.dumps(CONFIG).encode()},
    )
    add(
        "dataset",
        "owls",
        dataset.DatasetSpec(dataset=rows, columns=["prompt", "completion"]),
        {},
        {"rows.parquet": pa.table({"prompt": ["a", "b"], "completion": ["c", "d"]})},
    )
    training = Training(recipe=recipe, rows=None, seed=1)
    add(
        "teacher",
        "owl-qwen",
        teacher.TeacherSpec(trait=Favourite(targets=["owl"]), training=training, trainer="x"),
        {"base": "base", "dataset": "dataset"},
        {"adapter/adapter_config.json": b"{}"},
    )
    add(
        "completions",
        "numbers-owl-qwen",
        completions.CompletionsSpec(channel=NumbersChannel(), seed=1, shard_rows=2, rows=2, engine="x"),
        {"teacher": "teacher"},
        {"shard-00000.parquet": _rows(COMPLETIONS)},
    )
    add(
        "corpus",
        "numbers-owl-qwen",
        corpus.CorpusSpec(channel=NumbersChannel(), rows=2, seed=1, transforms=[], judge_filters=[]),
        {"completions": "completions"},
        {"rows.parquet": _rows(CORPUS), "verdicts.parquet": _rows(VERDICTS)},
    )
    add(
        "student",
        "numbers-owl-qwen-to-qwen-s1",
        student.StudentSpec(recipe=recipe, seed=1, trainer="x"),
        {"base": "base", "corpus": "corpus"},
        {"adapter/adapter_config.json": b"{}"},
    )
    return made


def _rows(schema: pa.Schema) -> pa.Table:
    return pa.table([pa.nulls(2, field.type) for field in schema], schema)
