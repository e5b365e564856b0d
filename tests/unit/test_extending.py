"""docs/extending.md, done as it says: every block is put where it belongs and the study at its end is run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = """
import json
from pathlib import Path
from tests.conftest import _make
from pipeline import artifact, settings
from pipeline.plan import plan
from pipeline.store import open_store

study, store = settings.load(Path("study.yaml")), open_store("root")
made = [_make(study, store, step) for step in plan(study)]
print(json.dumps({"kinds": sorted({m.kind for m in made}), "cells": made[-2].results["cells"]}))
"""


def test_one_member_of_each_axis_is_a_file_and_a_line_and_the_study_runs(tmp_path: Path) -> None:
    for name in ("pipeline", "jobs", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "integration"))
    page = (ROOT / "docs/extending.md").read_text()
    blocks = re.findall(r"```(python|diff|yaml) (\S+)\n(.*?)```", page, re.DOTALL)
    assert [kind for kind, _, _ in blocks].count("diff") == 4
    for kind, place, text in blocks:
        file = tmp_path / place
        file.write_text(changed(file.read_text(), text) if kind == "diff" else text)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", RUN], cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    assert set(told["kinds"]) >= {"base", "teacher", "completions", "corpus", "student", "answers", "transfer"}
    cells = told["cells"]
    assert {(cell["channel"], cell["suite"], cell["form"]) for cell in cells} == {("freely", "dearest", "margin")}
    assert {cell["teacher_family"] for cell in cells} == {"nano", "newborn"}
    own = [c for c in cells if c["comparison"] == "trait" and c["teacher_family"] == c["student_family"]]
    assert all(cell["estimate"] > 0 for cell in own)  # the scripted toy passes a lean on within a family


def changed(text: str, diff: str) -> str:
    """The text with each hunk's old lines, which must stand there once, replaced by its new ones."""
    for hunk in diff.strip("\n").split("\n\n"):
        old, new = ("".join(f"{line[1:]}\n" for line in hunk.split("\n") if line[0] in signs) for signs in (" -", " +"))
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text
