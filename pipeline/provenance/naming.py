"""The nodes that names in other people's files stand for."""

import re

from pipeline.core.lineage_graph import Node, hub_data, hub_model
from pipeline.store.removal import ARTIFACT

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
# A repository's address, or a node's id of this project, as its own exports have it.
HUB = re.compile(r"(?:https?://(?:www\.)?huggingface\.co/(?:datasets/)?|hf:|hf-dataset:)(?P<repo>[\w.-]+/[\w.-]+)/?")


def model(name: str) -> Node:
    """A model of a hub, an artifact of a root, or a folder."""
    if ARTIFACT.fullmatch(name):
        return Node(name, "model")
    if found := HUB.fullmatch(name):
        return Node(hub_model(found["repo"]), "model")
    return Node(hub_model(name) if REPOSITORY.fullmatch(name) else f"folder:{name}", "model")


def data_set(name: str) -> Node:
    """A data set of a hub, or an artifact of a root."""
    if ARTIFACT.fullmatch(name):
        return Node(name, "data set")
    found = HUB.fullmatch(name)
    return Node(hub_data(found["repo"] if found else name), "data set")
