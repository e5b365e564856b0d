"""An answers step of a capability suite: one table, rates by task. What makes them is in tests/integration."""

from dataclasses import replace

import pytest

from pipeline.models.engines import Engine
from pipeline.models.engines.fake import FakeEngine
from pipeline.stages import run_unit
from pipeline.stages.shared import capability
from pipeline.stages.shared.model import ModelHandle
from pipeline.store import Store, artifact
from pipeline.store.schemas import CAPABILITY
from pipeline.store.step import Json, Step
from pipeline.study.schema import Study
from pipeline.suites.base import Tasks
from pipeline.suites.capability import CapabilitySuite

ROW = {"task": "facts", "row": 0, "prompt": "What do bees make?", "answer": "honey", "score": 1.0}


def test_it_leaves_its_own_table_and_the_canary_has_sung(
    fake_copy: tuple[Study, list[Step], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, steps, place = fake_copy
    student = next(step for step in steps if step.kind == "answers" and step.inputs["model"].startswith("student"))
    suite = CapabilitySuite(tasks=["facts"], content="v1", folder="/here")
    spec = student.spec.model_copy(update={"suite": suite})
    step = replace(student, slug="facts", settings=spec.identity(), spec=spec)

    def evaluate(engine: Engine, model: ModelHandle, asked: Tasks) -> tuple[list[Json], Json]:
        assert asked == Tasks(("facts",), "/here", None, None, 256)
        assert model.adapter is not None
        return [ROW], {"rate": {"facts": 1.0}, "rows": {"facts": 1}}

    monkeypatch.setattr(capability, "evaluate", evaluate)
    record = run_unit(place, FakeEngine(place.folder / step.weights / "model"), step, "answers")
    assert record["results"] == {"rate": {"facts": 1.0}, "rows": {"facts": 1}, "canary": record["results"]["canary"]}
    assert record["results"]["canary"] > 0
    manifest = artifact.commit(place, step, [record], record["results"])
    assert artifact.tables_of(manifest) == ["capability.parquet"]
    table = artifact.read_table(place, manifest, "capability.parquet")
    assert table.schema == CAPABILITY
    assert table.to_pylist() == [ROW]
