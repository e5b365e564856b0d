"""Hub families: a model by repository and pinned revision, or a local folder that holds one."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from pipeline.errors import InputError
from pipeline.recipe import Strict

# What an engine and a trainer need of a snapshot; other weight formats are left on the hub.
FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


class HubFamily(Strict):
    """A base from the Hugging Face hub, or from a folder in its layout."""

    kind: Literal["hub"] = "hub"
    repo: str | None = Field(None, description='Repository, such as "Qwen/Qwen2.5-7B-Instruct".')
    revision: str | None = Field(
        None, description="Commit of the repository: 40 hex digits, so that it stays what it is."
    )
    path: str | None = Field(None, description="A local folder instead of a repository.")
    content: str | None = Field(
        None, description="With `path`: name this version of the folder; the path itself is no part of an id."
    )

    @model_validator(mode="after")
    def _one_source(self) -> "HubFamily":
        if (self.repo is None) == (self.path is None):
            raise ValueError("give either repo (with revision) or path")
        if self.repo and not re.fullmatch(r"[0-9a-f]{40}", self.revision or ""):
            raise ValueError(f"revision must be the 40 hex digits of a commit of {self.repo}, not {self.revision!r}")
        if self.path and not self.content:
            raise ValueError("path needs content: a word that names this version of the folder")
        return self


def fetch(family: HubFamily) -> Path:
    """The local folder with the family's files, downloaded where it is a repository.

    Raises InputError where the folder or the repository cannot be read.
    """
    if family.path is not None or family.repo is None:
        folder = Path(family.path or "")
        if not (folder / "config.json").is_file():
            raise InputError(f"{folder} is no Hugging Face model folder: it has no config.json")
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(family.repo, revision=family.revision, allow_patterns=list(FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise InputError(f"cannot fetch {family.repo} at {family.revision}: {error}") from error
