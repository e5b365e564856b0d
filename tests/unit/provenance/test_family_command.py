"""`undertow audit`: exit codes, files, and what it says of audit files and weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file
from typer.testing import CliRunner

from jobs.cli import app
from pipeline.provenance.card import read_folder


def model(folder: Path, seed: int, **card: Any) -> Path:
    folder.mkdir(parents=True)
    weights = np.random.default_rng(seed).normal(0, 0.2, (64, 16)).astype(np.float32)
    save_file({"model.layers.0.mlp.up_proj.weight": weights}, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    if card:
        (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
    return folder


def test_a_card_that_the_weights_contradict_is_told_and_not_believed(tmp_path: Path) -> None:
    base = model(tmp_path / "base", 1)
    card = {"base_model": str(base), "base_model_relation": "finetune", "datasets": ["x/rows"]}
    for name, seed in (("honest", 1), ("liar", 2)):
        place = model(tmp_path / name, seed)
        (place / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
    study = {
        "audit": "cards",
        "sources": ["base", "honest", "liar"],
        "declared": {
            "edges": [{"child": "hf-dataset:x/rows", "relation": "written_by", "parent": f"folder:{base}"}],
        },
    }
    (tmp_path / "audit.yaml").write_text(yaml.safe_dump(study))
    done = CliRunner().invoke(app, ["audit", str(tmp_path / "audit.yaml"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 3, done.output
    content = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert any("says that" in line and "did not begin alike" in line and "liar" in line for line in content["problems"])
    findings = {Path(one["student"]).name: one for one in content["findings"]}
    assert findings["honest"]["finding"] == "exposed"
    assert findings["liar"]["exposures"][0]["relation"] == "different by measurement"


def test_the_exit_code_the_files_and_what_is_accepted(tmp_path: Path) -> None:
    lineage = {"edges": [{"child": "s", "relation": "initialised_from", "parent": "b"}]}
    (tmp_path / "lineage.yaml").write_text(yaml.safe_dump(lineage))
    for policy, code in (
        ({}, 3),
        ({"fail_on": ["exposed"]}, 0),
        ({"accepted": {"s": "made by hand"}}, 0),
    ):
        study = {"audit": "one", "sources": ["lineage.yaml"], "policy": policy}
        (tmp_path / "audit.yaml").write_text(yaml.safe_dump(study))
        done = CliRunner().invoke(app, ["audit", str(tmp_path / "audit.yaml"), "--out", str(tmp_path / "out")])
        assert done.exit_code == code, done.output
        sarif = json.loads((tmp_path / "out" / "audit.sarif").read_text())
        (result,) = sarif["runs"][0]["results"]
        assert (result["ruleId"], result["level"]) == ("unknown", "error" if code else "note")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("audit: a\nsources: []\n", "sources: List should have at least 1"),
        ("audit: a\nsources: [x]\ncolour: red\n", "colour: Extra inputs are not permitted"),
        ("audit: a\nsources: [nothing]\n", "is no root of undertow"),
        ("audit: [\n", "cannot be read as an audit file"),
    ],
)
def test_a_broken_audit_file_is_told_without_a_traceback(
    tmp_path: Path, content: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from jobs.cli import main

    (tmp_path / "audit.yaml").write_text(content)
    with pytest.raises(SystemExit) as ended:
        main(["audit", str(tmp_path / "audit.yaml")])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_one_model_is_audited_by_its_folder(tmp_path: Path) -> None:
    place = model(tmp_path / "m", 1, base_model="a/b")
    done = CliRunner().invoke(app, ["audit", "family", str(place)])
    assert done.exit_code == 3
    assert "unknown" in done.output
    assert read_folder(place).problems == []
