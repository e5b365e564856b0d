"""Hub families: a model from a Hugging Face repository at a pinned revision, or from a local folder."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pipeline.core.errors import InputError, ModelRefused
from pipeline.core.lineage_graph import Node, hub_model
from pipeline.core.sources import Source
from pipeline.models.families import weights
from pipeline.models.families.base import BaseFamily, parameters_in

# What engines and trainers need of a snapshot; other weight formats are not downloaded.
FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
# The same weights again, in their makers' own layout; some repositories have both.
ALTERNATIVES = ("consolidated*.safetensors",)


class HubFamily(Source, BaseFamily):
    """A base from the Hugging Face hub, or from a folder in its layout."""

    COPIED: ClassVar = True

    kind: Literal["hub"] = "hub"

    def write(self, model: Path) -> None:
        """Copy the snapshot's files into a new folder. Raises as `fetch` does, and ModelRefused for unsafe files."""
        source = fetch(self)
        files = _files(source, without=ALTERNATIVES if self.repo else ())
        weights.check(source, [file.name for file in files])
        model.mkdir(parents=True)
        for file in files:
            shutil.copyfile(file, model / file.name)

    def origin(self) -> str:
        return self.path or f"{self.repo} at {self.revision}"

    def ancestor(self) -> Node:
        if self.repo is None:
            return Node(f"folder:{self.path}", "model", (("content", str(self.content)),))
        return Node(hub_model(self.repo), "model", (("revision", str(self.revision)),))

    def parameters(self) -> float | None:
        return parameters_in((self.repo or self.path or "").rstrip("/").split("/")[-1])


def fetch(family: HubFamily) -> Path:
    """The local folder with the family's files; a repository is downloaded.

    Raises InputError if the folder or the repository cannot be read.
    """
    if family.path is not None or family.repo is None:
        folder = Path(family.path or "")
        if not (folder / "config.json").is_file():
            raise InputError(f"{folder} is no Hugging Face model folder: it has no config.json")
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                family.repo,
                revision=family.revision,
                allow_patterns=list(FILES),
                ignore_patterns=list(ALTERNATIVES),
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise InputError(f"cannot fetch {family.repo} at {family.revision}: {error}") from error


def _files(folder: Path, without: Sequence[str]) -> list[Path]:
    """The files of a snapshot. Raises ModelRefused if one is a link out of it, or cannot be read."""
    inside = folder.resolve()
    if inside.parent.name == "snapshots":  # in the hub's own cache, snapshots are links to ../../blobs
        inside = inside.parent.parent
    found = []
    for file in sorted({file for pattern in FILES for file in folder.glob(pattern)}):
        if any(file.match(pattern) for pattern in without):
            continue
        target = Path(os.path.realpath(file))  # unlike resolve, it accepts a loop of links
        if not target.is_relative_to(inside):
            raise ModelRefused(
                f"{file} is a link to {target}, outside of the model's folder: put the file itself there"
            )
        if not target.is_file():
            raise ModelRefused(f"{file} is no file that can be read: remove it, or fetch the snapshot again")
        found.append(file)
    return found
