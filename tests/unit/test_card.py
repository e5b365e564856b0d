"""The card beside an artifact's tables: what it names, and that nothing else changes."""

import pytest
import yaml

from pipeline.store import Store, artifact
from pipeline.store.card import CARD, ROWS, card
from pipeline.store.step import Step
from pipeline.study.schema import Study


def configurations(text: bytes) -> list[dict[str, object]]:
    _, head, _ = text.decode().split("---\n", 2)
    found: list[dict[str, object]] = yaml.safe_load(head)["configs"]
    return found


def test_every_table_has_a_configuration_and_one_is_the_default() -> None:
    tables = {"verdicts.parquet": "verdicts.parquet", "rows.parquet": "attempt-2/rows.parquet"}
    assert configurations(card("corpus", "corpus/x-0123456789ab", tables)[CARD]) == [
        {
            "config_name": "rows",
            "data_files": [{"split": "train", "path": ["attempt-2/rows.parquet"]}],
            "default": True,
        },
        {"config_name": "verdicts", "data_files": [{"split": "train", "path": ["verdicts.parquet"]}]},
    ]


def test_shards_are_one_table() -> None:
    shards = {f"shard-{i:05d}.parquet": f"shard-{i:05d}.parquet" for i in range(3)}
    (only,) = configurations(card("completions", "completions/x-0123456789ab", shards)[CARD])
    assert only["data_files"] == [{"split": "train", "path": list(shards)}]


@pytest.mark.parametrize("kind", ["base", "teacher", "student", "gate", "report"])
def test_a_folder_of_a_model_or_a_page_gets_no_card(kind: str) -> None:
    assert card(kind, f"{kind}/x", {"log.parquet": "log.parquet"}) == {}


def test_the_manifest_names_the_card_and_the_card_every_table(
    fake_run: tuple[Study, list[Step], Store],
) -> None:
    _, steps, place = fake_run
    for step in steps:
        manifest = artifact.require(place, step.path)
        assert (CARD in {file.path for file in manifest.files}) == (step.kind in ROWS)
        if step.kind in ROWS:
            text = artifact.read(place, manifest, CARD)
            named = [path for c in configurations(text) for files in c["data_files"] for path in files["path"]]  # type: ignore[attr-defined]
            assert sorted(named) == sorted(file.path for file in manifest.files if file.rows)
            assert step.id in text.decode()
