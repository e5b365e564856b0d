"""Data sets of the hub: at their commit, from the hub or its cache, and from nowhere else."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.core.sources import Dataset

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCE = Dataset(repo="openai/gsm8k", revision=COMMIT, subset="main")


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_a_folder_of_its_name_is_not_read_in_its_place() -> None:
    folder = Path("openai/gsm8k")
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text(json.dumps({"question": "planted", "answer": "planted"}))
    with pytest.raises(InputError, match=f"cannot fetch openai/gsm8k at {COMMIT}"):
        Dataset(repo="openai/gsm8k", revision=COMMIT).read(["question", "answer"])


def test_another_version_that_is_cached_is_not_read_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def builder(path: str, subset: str, revision: str) -> Any:
        assert (path, subset, revision) == ("hf://datasets/openai/gsm8k", "main", COMMIT)
        return SimpleNamespace(hash="f" * 40)

    monkeypatch.setattr("datasets.load_dataset_builder", builder)
    with pytest.raises(InputError, match=r"there is only another version of it on this machine, f{40}"):
        SOURCE.read(["question", "answer"])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"question": ["q"], "answer": ["a"]}, None),
        ({"question": [], "answer": []}, "holds no rows"),
        ({"question": ["q", "r"], "answer": ["a", None]}, "row 2 has no answer"),
        ({"question": ["q"]}, "has no column answer; it has question"),
        ({"question": ["q"], "answer": [[1]]}, "must hold strings"),
    ],
)
def test_what_it_holds_is_checked_as_a_files_rows_are(
    rows: dict[str, list[Any]], said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    made = SimpleNamespace(
        hash=COMMIT,
        download_and_prepare=lambda: None,
        as_dataset=lambda split: datasets.Dataset.from_dict(rows),
    )
    monkeypatch.setattr("datasets.load_dataset_builder", lambda *arguments, **options: made)
    if said is None:
        assert SOURCE.read(["answer", "question"]).to_pylist() == [{"answer": "a", "question": "q"}]
    else:
        with pytest.raises(InputError, match=said):
            SOURCE.read(["question", "answer"])
