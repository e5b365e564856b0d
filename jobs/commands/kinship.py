"""`undertow kinship`: compares the weights of two models."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pipeline.analysis.kinship import Kinship, combine, compare_layer
from pipeline.core.errors import InputError, ModelRefused
from pipeline.models.families.layers import Layers, open_layers
from pipeline.models.families.weights import read_json
from pipeline.models.trainers import ADAPTER, MODEL
from pipeline.store import Store, artifact, open_store
from pipeline.store.artifact import Manifest
from pipeline.store.local_cache import local_folder
from pipeline.store.step import KINDS


def show(console: Console, a: str, b: str, *, as_json: bool) -> Kinship:
    """Print the verdict on two models. a, b: folders, adapters beside their bases, or artifacts of a root."""
    found = compare(layers_of(a), layers_of(b))
    if as_json:
        console.print_json(json.dumps({"schema": 1, "a": a, "b": b} | asdict(found)))
        return found
    power = math.floor(found.log_p / math.log(10))
    console.print(Text(f"{found.relation}: {found.reason}"), soft_wrap=True)
    console.print(
        f"p = {10 ** (found.log_p / math.log(10) - power):.1f}e{power} over {len(found.layers)} layers; mean cosine of "
        f"matched units {found.matched:.3f}, of units with the same number {found.aligned:.3f}, by chance "
        f"{found.chance:.3f}",
        soft_wrap=True,
    )
    return found


def compare(a: Layers, b: Layers) -> Kinship:
    """Layer by layer, so that no more than two layers are in memory. Raises InputError if none can be compared."""
    shared = [layer for layer in a.units if layer in b.units]
    try:
        return combine(compare_layer(a.read(layer), b.read(layer)) for layer in shared)
    except ValueError as error:
        raise InputError(f"the two models have different shapes, so no layer can be compared: {error}") from None


def layers_of(place: str) -> Layers:
    """The layers of a model folder, of an adapter whose base lies where it says, or of an artifact."""
    above, _, name = place.rstrip("/").rpartition("/")
    root, _, kind = above.rpartition("/")
    if kind in KINDS:
        store = open_store(root or ".")
        if artifact.exists(store, f"{kind}/{name}"):
            return _artifact_layers(store, artifact.require(store, f"{kind}/{name}"))
    folder = Path(place)
    if not folder.is_dir():
        raise InputError(f"there is no folder {place}; name a model folder, or an artifact such as runs/student/…")
    if not (folder / "adapter_config.json").is_file():
        return open_layers(folder)
    base = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(base, str) or not Path(base).is_dir():
        raise ModelRefused(
            f"{folder} is an adapter of {base}, which is no folder here: put the base there, or merge the adapter"
        )
    return open_layers(Path(base), folder)


def _artifact_layers(store: Store, made: Manifest) -> Layers:
    if any(file.path.startswith(f"{MODEL}/") for file in made.files):
        return open_layers(local_folder(store, made.path, made.files, MODEL))
    if "base" not in made.inputs:
        raise InputError(f"{made.path} is a {made.kind}, and no model")
    base = artifact.require(store, made.input("base"))
    weights = local_folder(store, base.path, base.files, MODEL)
    has_adapter = any(file.path.startswith(f"{ADAPTER}/") for file in made.files)
    return open_layers(weights, local_folder(store, made.path, made.files, ADAPTER) if has_adapter else None)


class Comparisons:
    """Whether the weights of two models began alike; every pair is compared once."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places
        self._known: dict[frozenset[str], bool | None] = {}

    def __call__(self, a: str, b: str) -> bool | None:
        pair = frozenset((a, b))
        if pair not in self._known:
            self._known[pair] = self._compare(a, b)
        return self._known[pair]

    def _compare(self, a: str, b: str) -> bool | None:
        if a not in self._places or b not in self._places:
            return None
        try:
            one, other = (layers_of(self._places[name]) for name in (a, b))
            relation = compare(one, other).relation
        except (InputError, ModelRefused):
            return None  # no readable weights, or other shapes, which a pruned model has as well
        return {"same initialisation": True, "different": False}.get(relation)
