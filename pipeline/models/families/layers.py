"""The MLP units of a model folder, read layer by layer from its safetensors files. Needs no torch."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ModelRefused
from pipeline.models.families.weights import LARGEST_JSON, read_json

Floats = NDArray[np.float32]
# The matrix of a layer that reads the residual stream, in the names of common architectures.
UNITS = re.compile(
    r"(?:^|\.)(?:layers|h|blocks|block)\.(?P<layer>\d+)\.(?:\w+\.)?"
    r"(?P<name>up_proj|gate_up_proj|c_fc|dense_h_to_4h|fc1|fc_in|w3)\.weight$"
)
TRANSPOSED = ("c_fc",)  # (inputs, units)
ADAPTED = re.compile(r"^base_model\.model\.(?P<base>.+)\.lora_(?P<part>[AB])\.weight$")
NUMBERS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies. start: bytes from the beginning of the file."""

    file: Path
    start: int
    kind: str
    shape: tuple[int, ...]

    def read(self) -> Floats:
        values = np.memmap(self.file, dtype=NUMBERS[self.kind], mode="r", offset=self.start, shape=self.shape)
        if self.kind == "BF16":  # the upper half of a float32
            return (values.astype(np.uint32) << 16).view(np.float32)
        found: Floats = values.astype(np.float32)
        return found


@dataclass(frozen=True)
class Layers:
    """The units of a model's layers. adapter: the parts of LoRA products, by the tensor that they change."""

    units: Mapping[int, tuple[str, Tensor]]
    adapter: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    scale: float = 0.0

    def __len__(self) -> int:
        return len(self.units)

    def read(self, layer: int) -> Floats:
        """(units, inputs) of one layer, with the adapter's product added."""
        name, tensor = self.units[layer]
        weight = tensor.read()
        parts = self.adapter.get(name.removesuffix(".weight"))
        if parts is not None:
            weight += self.scale * (parts["B"].read() @ parts["A"].read())
        return weight.T if name.split(".")[-2] in TRANSPOSED else weight


def open_layers(base: Path, adapter: Path | None = None) -> Layers:
    """The layers of a model folder or, with an adapter's folder, of the adapted model. Raises ModelRefused."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in _tensors(base).items():
        place = UNITS.search(name)
        if place and len(tensor.shape) == 2:
            found[int(place["layer"])] = (name, tensor)
    if not found:
        raise ModelRefused(f"{base} has no MLP layers under a name that is known here, so it cannot be compared")
    if adapter is None:
        return Layers(dict(sorted(found.items())))
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in _tensors(adapter).items():
        if place := ADAPTED.match(name):
            parts.setdefault(place["base"], {})[place["part"]] = tensor
    return Layers(
        dict(sorted(found.items())), {name: two for name, two in parts.items() if len(two) == 2}, _scale(adapter)
    )


def _scale(adapter: Path) -> float:
    settings = read_json(adapter / "adapter_config.json")
    try:
        rank, alpha = float(settings["r"]), float(settings["lora_alpha"])
        return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        raise ModelRefused(f"{adapter / 'adapter_config.json'} has no usable r and lora_alpha") from None


def _tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder's safetensors files of a kind that is known here. Raises ModelRefused."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelRefused(f"{folder} has no safetensors files; convert its weights, or choose a folder that has some")
    found = {}
    for file in files:
        header, start = _header(file)
        for name, entry in header.items():
            if name != "__metadata__" and entry["dtype"] in NUMBERS:
                first, _ = entry["data_offsets"]
                found[name] = Tensor(file, start + first, entry["dtype"], tuple(entry["shape"]))
    return found


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and where its data begin. The library checks that both are sound."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy"):
            pass
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            if size > LARGEST_JSON:
                raise ModelRefused(f"{file} has a header of more than {LARGEST_JSON >> 20} MiB")
            return json.loads(opened.read(size)), 8 + size
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelRefused(f"{file} is cut off or no safetensors file ({error}): fetch it again") from None
