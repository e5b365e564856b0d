"""The step graphs of three shipped studies, pinned: a change of a step, an input or an id must be meant.

python -m tests.unit.test_graphs    writes the files anew; say in the commit why they changed
"""

import json
from pathlib import Path

import pytest

from pipeline.plan.planner import plan
from pipeline.study.loader import load

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
STUDIES = ("quickstart", "paper/in-context", "paper/misalignment-by-numbers")


def graph(study: str) -> list[str]:
    """One line per step: its path, and role -> path of what it reads."""
    steps = plan(load(ROOT / "configs" / f"{study}.yaml"))
    return [json.dumps({"step": step.path, "inputs": dict(step.inputs), "after": list(step.after)}) for step in steps]


def place(study: str) -> Path:
    return GOLDEN / f"{study.replace('/', '-')}.jsonl"


@pytest.mark.parametrize("study", STUDIES)
def test_a_shipped_study_has_the_steps_that_it_had(study: str) -> None:
    assert graph(study) == place(study).read_text().splitlines()


if __name__ == "__main__":
    for name in STUDIES:
        place(name).write_text("".join(f"{line}\n" for line in graph(name)))
