"""Hub families: a model by repository and pinned revision, or a local folder that holds one."""

import shutil
from pathlib import Path
from typing import Literal

from pipeline.errors import InputError
from pipeline.source import Source

# What an engine and a trainer need of a snapshot; other weight formats are left on the hub.
FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


class HubFamily(Source):
    """A base from the Hugging Face hub, or from a folder in its layout."""

    kind: Literal["hub"] = "hub"

    def write(self, model: Path) -> None:
        """Copy the snapshot's files into a new folder. Raises as `fetch` does."""
        source = fetch(self)
        model.mkdir(parents=True)
        for pattern in FILES:
            for file in source.glob(pattern):
                shutil.copyfile(file, model / file.name)


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
