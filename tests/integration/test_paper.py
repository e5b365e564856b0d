"""Every published study as a smoke test with the fake engine and trainer: all its steps, in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.plan.planner import plan
from pipeline.store import Store, artifact, open_store
from pipeline.store.artifact import Manifest
from pipeline.store.step import Step
from pipeline.study.loader import load
from pipeline.study.schema import Study
from pipeline.study.smoke import smoke_edition
from tests.studies import STUDIES

PAPER = [file for file in STUDIES if file.parent.name == "paper"]
FAKE = ["engine=fake", "trainer=fake"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One root for all of them, which share what they can."""
    return open_store(tmp_path_factory.mktemp("paper") / "root")


@pytest.mark.parametrize("file", PAPER, ids=lambda file: file.stem)
def test_every_published_study_has_a_smoke_test(
    file: Path, shared: Store, make: Callable[[Study, Store, Step], Manifest]
) -> None:
    study = smoke_edition(load(file, FAKE))
    steps = plan(study)
    for step in steps:
        if not artifact.exists(shared, step.path):
            make(study, shared, step)
    matrix, report = (artifact.require(shared, step.path) for step in steps[-2:])
    measured = {(cell["arm"], cell["suite"]) for cell in matrix.results["cells"]}
    assert {arm for arm, _ in measured} == {arm.name for arm in study.all_arms}
    assert {suite for _, suite in measured} == {suite.name for suite in study.suites}
    page = artifact.read(shared, report, "report.html").decode()
    assert "SMOKE TEST" in page
    assert all(figure.source in page for figure in study.paper_results)
