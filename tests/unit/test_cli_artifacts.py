"""The commands that read what is stored: show, report and status."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.store import Store, open_store
from pipeline.store.status import begin, new_status
from pipeline.store.step import Step
from pipeline.study.schema import Study
from tests.unit.conftest import Said

FakeRun = tuple[Study, list[Step], Store]
STUDY = "study: small\nfamilies: {llama: {kind: nano, init_seed: 1}}\ntraits: [{targets: [owl]}]\n"
KINDS = ("base", "teacher", "gate", "completions", "corpus", "student", "answers", "transfer", "report")  # of the study


@pytest.mark.parametrize("kind", KINDS)
def test_show_tells_where_an_artifact_of_any_kind_came_from(
    undertow: Callable[..., Said], fake_run: FakeRun, kind: str
) -> None:
    _, steps, store = fake_run
    step = [step for step in steps if step.kind == kind][-1]
    told = undertow("show", store.folder / step.path)
    assert told.code == 0
    assert f"{step.slug}-{step.id}" in told.out
    assert all(source in told.out.replace("\n", "") for source in step.inputs.values())


def test_show_shows_as_many_rows_as_asked(undertow: Callable[..., Said], fake_run: FakeRun) -> None:
    _, steps, store = fake_run
    path = store.folder / next(step for step in steps if step.kind == "corpus").path
    shown = {rows: undertow("show", path, "--rows", str(rows)).out.count("rows.parquet: {") for rows in (0, 2)}
    assert shown == {0: 0, 2: 2}


@pytest.mark.slow
def test_report_renders_again_what_is_stored(undertow: Callable[..., Said], tmp_path: Path, fake_run: FakeRun) -> None:
    _, steps, store = fake_run
    told = undertow("report", store.folder / steps[-1].path, "--out", tmp_path / "again")
    assert told.code == 0
    for name in ("report.html", "matrix.png", "traits.png"):
        assert (tmp_path / "again" / name).read_bytes() == store.read(f"{steps[-1].path}/{name}")


def test_names_that_look_like_markup_are_printed_as_they_are(
    undertow: Callable[..., Said], tmp_path: Path, fake_run: FakeRun
) -> None:
    study, steps, _ = fake_run
    place = tmp_path / "[" / "b]:owl:[" / "red]"
    begin(open_store(place), "studies/fake-1", new_status(study.study, steps, []), steps)
    for command in (["status", place], ["gc", place], ["verify", place]):
        told = undertow(*command)
        assert "Traceback" not in told.err
    assert f"logs: {place}/studies/fake-1/logs/" in undertow("status", place).out
    (tmp_path / "study.yaml").write_text(STUDY)
    assert undertow("plan", "study.yaml", "--root", place).code == 0


def test_status_tells_of_every_study_under_a_root(
    undertow: Callable[..., Said], tmp_path: Path, fake_copy: FakeRun
) -> None:
    study, steps, store = fake_copy
    assert "no study has run" in undertow("status", tmp_path).out
    killed = dataclasses.replace(new_status(study.study, steps, []), heartbeat=0.0)
    begin(store, "studies/fake-1", killed, steps)
    assert "fake: complete" in undertow("status", store.folder).out
    elsewhere = open_store(tmp_path / "root")
    begin(elsewhere, "studies/fake-1", new_status(study.study, steps, []), steps)
    told = undertow("status", elsewhere.root)
    assert f"logs: {elsewhere.root}/studies/fake-1/logs/" in told.out
    assert "fake: running" in told.out
    assert "ETA: not known" in told.out
