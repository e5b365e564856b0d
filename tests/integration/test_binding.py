"""What lies in the wrong place is told by the driver; a study of 17 artifacts, run in this process without Ray."""

import json
import shutil
from pathlib import Path

import pytest

from jobs.driver import plan_run
from pipeline.core.errors import ArtifactError
from pipeline.plan.planner import plan
from pipeline.store import Store, artifact, open_store
from pipeline.study.schema import Study
from tests.chaos import fake_study

STUDY = Study.model_validate(fake_study.SETTINGS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("binding") / "root"
    assert fake_study.run(str(root))
    return root


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    return open_store(shutil.copytree(made, tmp_path / "root"))


def paths(kind: str) -> list[str]:
    return [step.path for step in plan(STUDY) if step.kind == kind]


def folder(store: Store, path: str) -> Path:
    return Path(store.root) / path


def test_a_study_does_not_begin_on_an_artifact_that_is_copied_over_another(store: Store) -> None:
    one, two = paths("corpus")
    shutil.rmtree(folder(store, two))
    shutil.copytree(folder(store, one), folder(store, two))
    with pytest.raises(ArtifactError, match=rf"{two}/manifest.json is the manifest of {one}, copied"):
        plan_run(STUDY, store)
    shutil.rmtree(folder(store, two))
    assert fake_study.run(store.root)


def test_a_study_does_not_begin_on_another_artifact_with_the_same_id(store: Store) -> None:
    (base,) = paths("base")
    place = f"{base}/manifest.json"
    fields = artifact.without_checksum(store.read(place), place)
    fields["settings"]["family"]["init_seed"] = 99
    store.replace(place, artifact.with_checksum(fields | {"identity": "0" * 64}))
    with pytest.raises(ArtifactError, match=rf"{base} is there already .* settings family differ\. Use another root"):
        plan_run(STUDY, store)


def test_rows_are_not_counted_twice_where_a_units_record_is_copied(store: Store) -> None:
    path = paths("completions")[0]
    (folder(store, path) / "manifest.json").unlink()
    units = folder(store, path) / "units"
    (units / "shard-00001.json").write_bytes((units / "shard-00000.json").read_bytes())
    assert not fake_study.run(store.root)
    assert artifact.load(store, path) is None
    (units / "shard-00001.json").unlink()
    assert fake_study.run(store.root)
    files = json.loads((folder(store, path) / "manifest.json").read_bytes())["files"]
    assert [(file["path"], file["rows"]) for file in files if file["rows"]] == [
        ("shard-00000.parquet", 20),
        ("shard-00001.parquet", 20),
    ]
