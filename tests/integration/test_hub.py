"""Hub families: a pinned revision out of the hub's own cache layout, and what is said where there is none."""

import shutil
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.models.families.hub import HubFamily, fetch

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache as the hub's own client fills it, with one revision of one repository; nothing can be downloaded."""
    snapshot = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / REVISION
    shutil.copytree(model, snapshot)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return snapshot


def test_a_pinned_revision_is_found_and_loads(cache: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = fetch(HubFamily(repo="someone/tiny", revision=REVISION))
    assert folder.resolve() == cache.resolve()
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 1000
    assert AutoTokenizer.from_pretrained(folder).apply_chat_template(
        [{"role": "user", "content": "Name your favourite animal in one word."}], tokenize=False
    )


def test_a_revision_that_cannot_be_had_is_told(cache: Path) -> None:
    with pytest.raises(InputError, match=r"cannot fetch someone/tiny at f{40}"):
        fetch(HubFamily(repo="someone/tiny", revision="f" * 40))


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no Hugging Face model folder: it has no config.json"):
        fetch(HubFamily(path=str(tmp_path), content="v1"))
