"""Manifests and records are believed only where they belong, and only in the shape that undertow writes."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.core.errors import ArtifactError, StudyError
from pipeline.plan.planner import plan
from pipeline.store import Store, artifact, step
from pipeline.store.records import File, Manifest, Record, of_shape
from pipeline.store.step import Step
from pipeline.study.schema import Study

FakeRun = tuple[Study, list[Step], Store]
SHARD = range(0, 2)


def planned(settings: dict[str, Any], name: str = "one", kind: str = "base", **inputs: str) -> Step:
    made = Step(kind, name, step.step_id(kind, 1, settings, inputs), settings, inputs)
    return dataclasses.replace(made, identity=step.identity(made, {}))


def finished(store: Store, of: Step, unit: str = "u", rows: range | None = None) -> dict[str, Any]:
    return artifact.finish_unit(store, of, unit, {f"{unit}.parquet": pa.table({"n": [1, 2]})}, {}, time.time(), rows)


def committed(store: Store, of: Step) -> artifact.Manifest:
    return artifact.commit(store, of, [finished(store, of)], {})


def copied(store: Store, source: str, target: str) -> None:
    store.replace(target, store.read(source))


def rewritten(store: Store, place: str, /, **changes: Any) -> None:
    fields = artifact.without_checksum(store.read(place), place) | changes
    store.replace(place, artifact.with_checksum({name: value for name, value in fields.items() if value is not ...}))


def test_an_artifact_that_is_copied_over_another_is_told_with_what_to_do(store: Store) -> None:
    one, two = (committed(store, planned({"n": n}, name)) for n, name in ((1, "one"), (2, "two")))
    for file in ("manifest.json", "u.parquet", "units/u.json"):
        copied(store, f"{one.path}/{file}", f"{two.path}/{file}")
    for read in (artifact.load, artifact.require, lambda store, path: artifact.files_of(store, path, "u")):
        with pytest.raises(ArtifactError, match=rf"{two.path}/manifest.json is the manifest of {one.path}, .*Remove"):
            read(store, two.path)
    assert artifact.require(store, one.path) == one


@pytest.mark.parametrize("field", ["kind", "id", "path"])
def test_a_manifest_says_kind_id_and_path_of_its_place(store: Store, field: str) -> None:
    made = committed(store, planned({}))
    other = {"kind": "teacher", "id": "0" * 12, "path": "base/other-" + made.id}[field]
    rewritten(store, f"{made.path}/manifest.json", **{field: other})
    with pytest.raises(ArtifactError, match="copied to the wrong place"):
        artifact.load(store, made.path)


def test_a_record_that_is_copied_over_another_is_told_with_what_to_do(store: Store) -> None:
    of, other = planned({"n": 1}), planned({"n": 2}, "two")
    finished(store, of, "shard-00000")
    copied(store, f"{of.path}/units/shard-00000.json", f"{of.path}/units/shard-00001.json")
    copied(store, f"{of.path}/units/shard-00000.json", f"{other.path}/units/shard-00000.json")
    for path, unit in ((of.path, "shard-00001"), (other.path, "shard-00000")):
        for read in (artifact.unit, artifact.files_of):
            with pytest.raises(ArtifactError, match=rf"{path}/units/{unit}.json is the record of shard-00000 of"):
                read(store, path, unit)


def test_no_file_is_counted_twice(store: Store) -> None:
    of = planned({})
    record = finished(store, of)
    with pytest.raises(ArtifactError, match=r"two units of base/one-\w+ name the same file u\.parquet"):
        artifact.commit(store, of, [record, record], {})
    assert artifact.load(store, of.path) is None


@pytest.mark.parametrize("rows", [range(0, 3), range(2, 4), None])
def test_a_record_of_other_rows_than_are_planned_is_told(store: Store, rows: range | None) -> None:
    of = planned({})
    finished(store, of, rows=rows)
    with pytest.raises(ArtifactError, match=r"the study plans \[0, 2\] \(first, end\) for it"):
        artifact.planned_unit(store, of, "u", SHARD)


def test_a_record_of_the_planned_rows_is_taken(store: Store) -> None:
    of = planned({})
    record = finished(store, of, rows=SHARD)
    assert artifact.planned_unit(store, of, "u", SHARD) == record
    assert artifact.planned_unit(store, of, "u") == record
    assert artifact.planned_unit(store, of, "v", SHARD) is None


def test_every_shard_of_completions_records_the_rows_of_the_plan(fake_run: FakeRun) -> None:
    study, steps, store = fake_run
    for of in (of for of in steps if of.kind == "completions"):
        units = [artifact.unit(store, of.path, f"shard-{n:05d}") or {} for n in range(3)]
        assert [unit["rows"] for unit in units] == [[0, 25], [25, 50], [50, study.completions.rows]]


def test_another_artifact_with_the_same_short_id_is_told_by_what_differs(store: Store) -> None:
    made = committed(store, planned({"n": 1, "m": {"deep": [1]}}))
    same = planned({"n": 1, "m": {"deep": (1,)}})  # JSON knows no tuples
    assert artifact.load_planned(store, same) == made
    forged = dataclasses.replace(planned({"n": 2, "m": {"deep": [1]}}), id=made.id)
    with pytest.raises(ArtifactError, match=rf"{made.path} is there already .* settings n differ. Use another root"):
        artifact.load_planned(store, forged)
    with pytest.raises(ArtifactError, match="settings n differ"):
        artifact.commit(store, dataclasses.replace(forged, identity=made.identity), [], {})
    elsewhere = dataclasses.replace(same, identity="0" * 64)
    with pytest.raises(ArtifactError, match="inputs differ"):
        artifact.load_planned(store, elsewhere)


def test_a_unit_of_another_step_with_the_same_short_id_is_not_taken(store: Store) -> None:
    of = planned({"n": 1})
    finished(store, of)
    forged = dataclasses.replace(planned({"n": 2}), id=of.id)
    with pytest.raises(ArtifactError, match="is of another step than the study plans, though it has the same id"):
        artifact.planned_unit(store, forged, "u")
    with pytest.raises(ArtifactError, match="is of another step"):
        finished(store, forged)


def test_two_steps_of_a_study_with_the_same_id_are_told(
    study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.stages.contract.step_id", lambda *args: "0" * 12)
    with pytest.raises(StudyError, match=r"two different steps, .* have the same id"):
        plan(study(arms=[{"name": "a"}, {"name": "b", "rows": 30}, {"name": "c", "rows": 20}]))


def test_an_identity_holds_those_of_the_inputs(study: Callable[..., Study]) -> None:
    """Ids of 48 bits do not: a base with another content and the same id would pass for the base."""

    def identities(**changes: Any) -> dict[str, str]:
        return {of.path: of.identity for of in plan(study(**changes))}

    found = identities()
    assert len(set(found.values())) == len(found)
    assert all(len(identity) == 64 for identity in found.values())
    assert found == identities()
    one, two = ({"base": base * 64} for base in "ab")
    teacher = planned({}, kind="teacher")
    assert step.identity(teacher, one) != step.identity(teacher, two)


WRONG: dict[str, Any] = {
    "kind": 1,
    "id": "no id",
    "path": "../elsewhere",
    "identity": 5,
    "schema": True,
    "settings": [],
    "inputs": {"base": {"path": "base/x-000000000000"}},
    "files": [{"path": "a", "bytes": 1, "sha256": "x"}],
    "results": None,
    "produced": {"seconds": "1"},
    "unknown": 1,
}


@pytest.mark.parametrize("field", WRONG)
@pytest.mark.parametrize("change", ["wrong", "missing"])
def test_a_malformed_manifest_is_told_by_its_field(store: Store, field: str, change: str) -> None:
    made = committed(store, planned({}))
    if change == "missing" and field in ("unknown", "identity"):  # earlier versions wrote no identity
        return
    rewritten(store, f"{made.path}/manifest.json", **{field: WRONG[field] if change == "wrong" else ...})
    with pytest.raises(ArtifactError, match=rf"manifest\.json is malformed \({field}.*remove this file and run"):
        artifact.load(store, made.path)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "./a", "", "a\0b", "a/"])
def test_a_file_never_lies_outside_of_its_artifact(store: Store, path: str) -> None:
    with pytest.raises(ValueError, match="no path inside of the artifact's folder"):
        File(path, 1, "0" * 64)
    made = committed(store, planned({}))
    rewritten(store, f"{made.path}/manifest.json", files=[{"path": path, "bytes": 1, "sha256": "0" * 64}])
    with pytest.raises(ArtifactError, match=r"is malformed \(files\.0\.path"):
        artifact.load(store, made.path)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@hypothesis_settings(deadline=None)
@given(data=st.data(), shape=st.sampled_from([Manifest, Record, File]))
def test_whatever_stands_in_a_field_is_a_shape_or_an_artifact_error(data: st.DataObject, shape: Any) -> None:
    names = [field.name for field in dataclasses.fields(shape)]
    fields = data.draw(ANYTHING | st.dictionaries(st.sampled_from([*names, "other"]), ANYTHING))
    with contextlib.suppress(ArtifactError):
        assert isinstance(of_shape(shape, fields, "here"), shape)


@hypothesis_settings(deadline=None)
@given(st.binary() | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_whatever_stands_in_a_file_is_fields_or_an_artifact_error(content: bytes) -> None:
    with pytest.raises(ArtifactError, match="here is damaged"):
        artifact.without_checksum(content, "here")


@pytest.mark.parametrize("inner", ["NaN", "[" * 100_000, '{"a":' * 100_000, "Infinity", "1" * 5000])
def test_json_that_nobody_writes_is_damage(inner: str) -> None:
    with pytest.raises(ArtifactError, match="here is damaged"):
        artifact.without_checksum(f'{{"checksum": "{"0" * 64}", "x": {inner}}}'.encode(), "here")


def test_a_folder_in_the_place_of_a_manifest_or_of_a_file_is_told(store: Store) -> None:
    made = committed(store, planned({}))
    assert store.folder is not None
    for name, read in (
        ("u.parquet", lambda: artifact.read(store, made, "u.parquet")),
        ("manifest.json", lambda: artifact.load(store, made.path)),
    ):
        place = store.folder / made.path / name
        place.unlink()
        place.mkdir()
        with pytest.raises(ArtifactError, match=f"{name} cannot be read: Is a directory"):
            read()
