"""Completions: the plan fixes which prompts a shard holds and with which seed each is asked."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.channels.numbers import NumbersChannel
from pipeline.core.fake_model import FakeModel, write
from pipeline.models.engines.fake import FakeEngine
from pipeline.stages import run_unit
from pipeline.stages.completions import sampling_seed, shards, speak, totals
from pipeline.stages.shared.model import ModelHandle
from pipeline.store import Store, artifact
from pipeline.store.schemas import COMPLETIONS
from pipeline.store.step import Step
from pipeline.study.schema import Study


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> FakeEngine:
    folder: Path = tmp_path_factory.mktemp("model")
    write(FakeModel(init=1), folder)
    return FakeEngine(folder)


def step(rows: int, shard_rows: int) -> Step:
    sizes = {"rows": rows, "shard_rows": shard_rows}
    settings = sizes | {"channel": {"kind": "numbers"}, "seed": 3, "temperature": 1.0, "max_tokens": 64}
    return Step("completions", "numbers-owl", "0123456789ab", settings)


def written_by(engine: FakeEngine, of: Step) -> pa.Table:
    return pa.concat_tables([speak(of, number, ModelHandle(), engine) for number in range(len(shards(of)))])


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 35))
def test_how_the_work_is_cut_changes_no_row(engine: FakeEngine, rows: int, shard_rows: int) -> None:
    cut, whole = written_by(engine, step(rows, shard_rows)), written_by(engine, step(rows, rows))
    assert cut["index"].to_pylist() == list(range(rows))
    assert cut.drop_columns("shard").equals(whole.drop_columns("shard"))
    assert cut.schema == COMPLETIONS


def test_shards_are_named_in_order_and_the_last_may_be_short(engine: FakeEngine) -> None:
    assert shards(step(60, 25)) == ["shard-00000", "shard-00001", "shard-00002"]
    assert [speak(step(60, 25), number, ModelHandle(), engine).num_rows for number in range(3)] == [25, 25, 10]
    assert shards(step(50, 25)) == ["shard-00000", "shard-00001"]


def test_prompts_are_the_channels_by_seed_and_index(engine: FakeEngine) -> None:
    said = written_by(engine, step(20, 6))
    assert said["prompt"].to_pylist() == [NumbersChannel().prompt(3, index) for index in range(20)]


def test_sampling_seeds_differ_by_row_and_by_step_and_fit_an_engine() -> None:
    seeds = [sampling_seed(name, index) for name in ("0123456789ab", "0123456789ac") for index in range(5000)]
    assert len(set(seeds)) > len(seeds) * 0.999
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert sampling_seed("x", 1) == sampling_seed("x", 1)


def test_a_shard_is_written_once_and_a_doubled_writer_changes_nothing(
    fake_run: tuple[Study, list[Step], Store], engine: FakeEngine
) -> None:
    _, steps, place = fake_run
    of = next(step for step in steps if step.kind == "completions")
    before = place.read(f"{of.path}/shard-00001.parquet")
    record = artifact.unit(place, of.path, "shard-00001")
    assert run_unit(place, engine, of, "shard-00001") == record
    assert place.read(f"{of.path}/shard-00001.parquet") == before


def test_results_add_up_over_shards(fake_run: tuple[Study, list[Step], Store]) -> None:
    study, steps, place = fake_run
    for of in steps:
        if of.kind == "completions":
            manifest = artifact.require(place, of.path)
            tables = [artifact.read_table(place, manifest, name) for name in artifact.tables_of(manifest)]
            assert [table.num_rows for table in tables] == [25, 25, 10]
            assert manifest.results["rows"] == sum(table.num_rows for table in tables) == study.completions.rows
            for column in ("prompt_tokens", "completion_tokens"):
                assert manifest.results[column] == sum(sum(table[column].to_pylist()) for table in tables)
    assert totals([{"results": {"rows": 2}}, {"results": {"rows": 3}}]) == {"rows": 5}


def test_only_a_prompted_teacher_speaks_under_a_system_prompt(
    study: Callable[..., Study], fake_run: tuple[Study, list[Step], Store]
) -> None:
    from pipeline.stages.shared.model import load_model

    _, steps, place = fake_run
    for of in steps:
        if of.kind in ("base", "teacher", "student"):
            who = load_model(place, artifact.require(place, of.path))
            loved = of.settings.get("trait")
            assert (who.system is not None) == bool(loved)
            assert not loved or loved["targets"][0] in str(who.system)
            assert (who.adapter is not None) == (of.kind == "student")
