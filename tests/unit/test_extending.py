"""The study at the end of docs/extending.md, in one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extending import extend

RUN = """
import json
from pathlib import Path
from tests.conftest import _make
import pytest

from pipeline.store import artifact
from pipeline.study import loader
from pipeline.plan.planner import plan
from pipeline.store import open_store

study, store = loader.load(Path("study.yaml")), open_store("root")
made = [_make(study, store, step) for step in plan(study)]
print(json.dumps({"kinds": sorted({m.kind for m in made}), "cells": made[-2].results["cells"]}))
"""


@pytest.mark.slow
def test_one_member_of_each_axis_is_a_file_and_a_line_and_the_study_runs(tmp_path: Path) -> None:
    environment = os.environ | extend(tmp_path)
    ran = subprocess.run(
        [sys.executable, "-c", RUN], cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    shown = {"base", "teacher", "completions", "corpus", "lengths", "student", "answers", "transfer"}
    assert set(told["kinds"]) >= shown
    cells = told["cells"]
    assert {(cell["channel"], cell["suite"], cell["metric"]) for cell in cells} == {("freely", "dearest", "margin")}
    assert {cell["teacher_family"] for cell in cells} == {"nano", "newborn"}
    own = [c for c in cells if c["comparison"] == "trait" and c["teacher_family"] == c["student_family"]]
    assert all(cell["estimate"] > 0 for cell in own)  # the fake toy passes a lean on within a family
