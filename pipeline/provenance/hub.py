"""What a repository of the Hugging Face hub says of its own origin. Needs a network, or the hub's cache."""

import re
from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.core.lineage_graph import Graph, Node, hub_data, hub_model
from pipeline.provenance import card

# hf:owner/name or hf-dataset:owner/name, at a branch, tag or commit if @ and its name follow.
TARGET = re.compile(r"(?P<kind>hf|hf-dataset):(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
FILES = (
    "README.md",
    "config.json",
    "adapter_config.json",
    "mergekit_config.yml",
    "pipeline.yaml",
    "croissant.json",
)  # weights are not fetched


def read_repository(target: str) -> tuple[Graph, str]:
    """The graph of a repository and its node. Raises InputError if it cannot be fetched."""
    found = TARGET.fullmatch(target)
    if found is None:
        raise InputError(f"{target} is no repository such as hf:owner/name or hf-dataset:owner/name@revision")
    is_data = found["kind"] == "hf-dataset"
    folder = _fetch(found["repo"], found["revision"], is_data=is_data)
    node = Node(hub_data(found["repo"]), "data set") if is_data else Node(hub_model(found["repo"]), "model")
    # In the hub's cache, files are links to the folder of the repository, two levels up.
    return card.read_folder(folder, node, within=folder.parent.parent), node.id


def _fetch(repo: str, revision: str | None, *, is_data: bool) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ModuleNotFoundError:
        raise InputError("reading the hub needs huggingface_hub: pip install 'undertow[export]'") from None
    try:
        kind = "dataset" if is_data else "model"
        return Path(snapshot_download(repo, revision=revision, repo_type=kind, allow_patterns=list(FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise InputError(f"cannot fetch {repo} from the hub: {str(error).splitlines()[0]}") from None
