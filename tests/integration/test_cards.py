"""Cards: the `datasets` library loads the folders of artifacts as they are."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.plan.planner import plan
from pipeline.store import Store, artifact, open_store
from pipeline.store.artifact import Manifest
from pipeline.store.step import Step
from pipeline.study.schema import Study


def loaded(folder: Path, cache: Path, name: str | None = None) -> pa.Table:
    from datasets import load_dataset

    table: pa.Table = load_dataset(str(folder), name, split="train", cache_dir=str(cache)).data.table
    return table.combine_chunks()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
def test_every_table_of_a_kind_is_a_configuration_and_the_first_one_needs_no_name(
    study: Callable[..., Study], store: Store, make: Callable[..., Manifest], tmp_path: Path
) -> None:
    made = study(
        families={"llama": {"kind": "nano", "init_seed": 1}},
        traits=[{"targets": ["owl"]}],
        teachers={"neutral_corpora": 0},
    )
    steps = [step for step in plan(made) if step.kind not in ("student", "transfer", "report")]
    everything = [make(made, store, step) for step in steps if "student" not in str(step.inputs)]
    manifests = {manifest.kind: manifest for manifest in everything if "-gate-" not in manifest.path}
    for manifest in everything:
        if manifest.path.startswith("answers/") and "-gate-" in manifest.path:  # nothing is sampled for a gate
            assert loaded(Path(store.root) / manifest.path, tmp_path).num_rows > 0
    for kind, first in {"completions": "completions", "corpus": "rows", "answers": "answers"}.items():
        manifest = manifests[kind]
        tables = {name: artifact.read_table(store, manifest, name) for name in artifact.tables_of(manifest)}
        folder = Path(store.root) / manifest.path
        if kind == "completions":
            tables = {"completions.parquet": pa.concat_tables(tables.values())}
        for name, table in tables.items():
            assert loaded(folder, tmp_path, Path(name).stem).to_pylist() == table.to_pylist()
        assert loaded(folder, tmp_path).to_pylist() == tables[f"{first}.parquet"].to_pylist()


@pytest.mark.usefixtures("offline")
def test_what_an_attempt_that_died_has_left_is_not_loaded(tmp_path: Path) -> None:
    store, step = open_store(tmp_path / "root"), Step("corpus", "c", "0123456789ab", {})
    orphan, right = pa.table({"index": [1]}), {"rows.parquet": pa.table({"index": [2, 3]})}
    artifact.write_files(store, step.path, {"rows.parquet": orphan})
    manifest = artifact.commit(store, step, [artifact.finish_unit(store, step, "corpus", right, {}, 0.0)], {})
    assert manifest.file("rows.parquet").place == "attempt-2/rows.parquet"
    assert loaded(tmp_path / "root" / step.path, tmp_path / "cache")["index"].to_pylist() == [2, 3]
