"""MLP units out of safetensors files: kinds of numbers, shards, adapters, transposed layers; and the command."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from jobs.cli import app
from jobs.commands.kinship import layers_of
from pipeline.core.errors import ModelRefused
from pipeline.models.families.layers import NUMBERS, Floats, open_layers

UP = "model.layers.{}.mlp.up_proj.weight"


def units(seed: int, count: int = 48, inputs: int = 16) -> Floats:
    drawn: Floats = np.random.default_rng(seed).normal(0, 0.2, (count, inputs)).astype(np.float32)
    return drawn


def model(folder: Path, seed: int, layers: int = 2) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    save_file({UP.format(i): units(10 * seed + i) for i in range(layers)}, folder / "model.safetensors")
    return folder


def test_layers_are_read_in_order_from_shards(tmp_path: Path) -> None:
    for number, layer in ((1, 10), (2, 2)):
        save_file(
            {UP.format(layer): units(layer), "lm_head.weight": units(0)}, tmp_path / f"model-{number}.safetensors"
        )
    found = open_layers(tmp_path)
    assert list(found.units) == [2, 10]
    assert np.array_equal(found.read(10), units(10))


@pytest.mark.parametrize("kind", list(NUMBERS))
def test_every_kind_of_number_is_read(tmp_path: Path, kind: str) -> None:
    values = units(1)
    stored = (values.view(np.uint32) >> 16).astype(np.uint16) if kind == "BF16" else values.astype(NUMBERS[kind])
    data = stored.tobytes()
    entry = {"dtype": kind, "shape": list(values.shape), "data_offsets": [0, len(data)]}
    header = json.dumps({UP.format(0): entry}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    read = open_layers(tmp_path).read(0)
    assert read.dtype == np.float32
    assert np.allclose(read, values, rtol=0.01 if kind == "BF16" else 1e-3)


def test_layers_that_are_stored_the_other_way_round_are_turned(tmp_path: Path) -> None:
    save_file({"transformer.h.0.mlp.c_fc.weight": np.ascontiguousarray(units(1).T)}, tmp_path / "model.safetensors")
    assert np.array_equal(open_layers(tmp_path).read(0), units(1))


def test_an_adapter_is_added_with_its_scale(tmp_path: Path) -> None:
    base, adapter = model(tmp_path / "base", 1), tmp_path / "adapter"
    adapter.mkdir()
    settings = {"r": 2, "lora_alpha": 4, "base_model_name_or_path": str(base)}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    a, b = units(7, 2, 16), units(8, 48, 2)
    name = f"base_model.model.{UP.format(1).removesuffix('.weight')}.lora_"
    save_file({f"{name}A.weight": a, f"{name}B.weight": b}, adapter / "adapter_model.safetensors")
    found = layers_of(str(adapter))
    assert np.allclose(found.read(1), units(11) + 2 * b @ a, atol=1e-6)
    assert np.array_equal(found.read(0), units(10))
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": "some/model"}))
    with pytest.raises(ModelRefused, match="is an adapter of some/model, which is no folder here"):
        layers_of(str(adapter))


def test_what_cannot_be_read_is_refused_naming_it(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="has no safetensors files"):
        open_layers(tmp_path)
    save_file({"embed.weight": units(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelRefused, match="has no MLP layers"):
        open_layers(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelRefused, match="cut off or no safetensors file"):
        open_layers(tmp_path)


def test_the_command_prints_a_verdict_and_json(tmp_path: Path) -> None:
    one, other = model(tmp_path / "one", 1), model(tmp_path / "other", 5)
    same = CliRunner().invoke(app, ["kinship", str(one), str(one)])
    assert same.exit_code == 0, same.output
    assert same.output.startswith("same initialisation: units with the same number match")
    told = CliRunner().invoke(app, ["kinship", str(one), str(other), "--json"])
    found = json.loads(told.output)
    assert (found["schema"], found["relation"], len(found["layers"])) == (1, "different", 2)
