"""Checks that a model folder holds exactly one set of weights, complete and readable. Needs no torch.

Engines and trainers choose among several sets by different rules, so a folder with two sets is two models.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import ModelRefused

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
LFS = b"version https://git-lfs"  # start of the pointer file in place of a file that git-lfs has not fetched
LARGEST_JSON = 64 * 2**20  # bytes; an index of a thousand shards has a few MiB


def check(folder: Path, files: Collection[str]) -> dict[str, int]:
    """The number of files, tensors and bytes of the weights among these files of a folder.

    Raises ModelRefused saying what is wrong and what to do.
    """
    beside = [name for name in ADAPTER if name in files]
    if beside:
        raise ModelRefused(
            f"{folder} holds an adapter beside the base's weights ({', '.join(beside)}), which a trainer would load "
            "and an engine would not: merge it into the weights, or remove it"
        )
    named = _named(folder, files)
    found = {name: _tensors(folder / name) for name in sorted(set(named.values()))}
    _compare(folder, named, found)
    return {
        "files": len(found),
        "tensors": sum(map(len, found.values())),
        "bytes": sum((folder / name).stat().st_size for name in found),
    }


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object of a model folder. Raises ModelRefused if the file is not one."""
    try:
        if file.stat().st_size > LARGEST_JSON:
            raise ModelRefused(f"{file} has more than {LARGEST_JSON >> 20} MiB; is it the right file?")
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelRefused(f"{file} cannot be read as JSON: {error}; fetch it again") from None
    if not isinstance(content, dict):
        raise ModelRefused(f"{file} holds no JSON object; fetch it again")
    return content


def _named(folder: Path, files: Collection[str]) -> dict[str, str]:
    """Tensor -> the file that must hold it; {"": SINGLE} for a single file, which has no index."""
    present = {name for name in files if name.endswith(".safetensors")}
    if not present:
        raise ModelRefused(_nothing(folder))
    has_index = INDEX in files
    named = _index(folder) if has_index else {"": SINGLE}
    wanted = set(named.values())
    if SINGLE in present and SINGLE not in wanted:
        raise ModelRefused(
            f"{folder} holds two sets of weights: {SINGLE}, and the shards that {INDEX} names. A trainer would read "
            "the first and an engine the second: remove the one that is out of date"
        )
    if strays := sorted(present - wanted):
        named_by = INDEX if has_index else SINGLE
        raise ModelRefused(
            f"{folder} holds weights that do not belong to {named_by}: {', '.join(strays)}. An engine might read them "
            "and a trainer would not: keep one set of weights in the folder"
        )
    if missing := sorted(wanted - present):
        raise ModelRefused(f"{folder} lacks {', '.join(missing)}, which {INDEX} names: fetch the snapshot again")
    return named


def _nothing(folder: Path) -> str:
    pickled = sorted(file.name for pattern in PICKLED for file in folder.glob(pattern))
    if pickled:
        return (
            f"{folder} has its weights in {', '.join(pickled)} only. Reading such a file can run code: convert the "
            "weights to safetensors, or choose a revision that has them"
        )
    return f"{folder} holds no weights: it needs {SINGLE}, or {INDEX} with its shards"


def _index(folder: Path) -> dict[str, str]:
    named = read_json(folder / INDEX).get("weight_map")
    if not isinstance(named, dict) or not named or not all(_is_plain(name) for name in named.values()):
        raise ModelRefused(f"{folder / INDEX} has no weight_map from tensors to files beside it; fetch it again")
    return named


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name


def _tensors(file: Path) -> list[str]:
    """The names of a file's tensors."""
    from safetensors import SafetensorError, safe_open

    with file.open("rb") as opened:
        if opened.read(len(LFS)) == LFS:
            raise ModelRefused(f"{file} is a git-lfs pointer, not the weights: run git lfs pull in its folder")
    try:
        with safe_open(file, framework="numpy") as weights:
            return list(weights.keys())
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelRefused(f"{file} is cut off or no safetensors file ({error}): fetch it again") from None


def _compare(folder: Path, named: Mapping[str, str], found: Mapping[str, Sequence[str]]) -> None:
    if "" in named:
        return
    held = {(tensor, name) for name, tensors in found.items() for tensor in tensors}
    lost, extra = sorted(set(named.items()) - held), sorted(held - set(named.items()))
    if lost or extra:
        tensor, name = (lost or extra)[0]
        what, verb = ("lacks", "lists") if lost else ("holds", "does not list")
        raise ModelRefused(
            f"{folder}: {name} {what} the tensor {tensor}, which {INDEX} {verb} there ({len(lost)} missing, "
            f"{len(extra)} unexpected): index and shards are from different snapshots; fetch them again"
        )
