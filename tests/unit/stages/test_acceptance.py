"""Acceptance: what the first completions say of the rest, and when a teacher has written enough or never will."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.channels.numbers import NumbersChannel
from pipeline.core.errors import Stopped, TooFewRows
from pipeline.models.engines.fake import FakeEngine
from pipeline.plan.planner import needed_rows, plan
from pipeline.stages import completions, run_unit
from pipeline.stages.completions import CompletionsSpec
from pipeline.stages.shared import acceptance
from pipeline.stages.shared.accept_rule import apply_rule
from pipeline.stages.shared.acceptance import Seen, estimate, expected, wanted_shards
from pipeline.stages.shared.shards import generate
from pipeline.stages.shared.training import UNIT
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest, tables_of
from pipeline.store.local_cache import local_folder
from pipeline.store.step import Step
from pipeline.study.schema import Study

SHARD = 10
ONE_FAMILY = {"families": {"llama": {"kind": "nano", "init_seed": 1}}, "students": {"seeds": [1]}}


def until(accepted: int, at_most: int) -> Step:
    return completions_step(accepted=accepted, at_most=at_most)


def fixed(rows: int) -> Step:
    return completions_step(rows=rows)


def completions_step(**amount: int) -> Step:
    spec = CompletionsSpec(channel=NumbersChannel(), seed=1, shard_rows=SHARD, **amount)
    return completions.STAGE.step("numbers-owl", spec, {})


class Writers:
    """Engines that write shards of which so many rows are accepted, each after so many turns of the loop."""

    def __init__(self, found: list[int], engines: int = 1, delays: list[int] | None = None) -> None:
        self._found, self._delays = found, delays or [0] * len(found)
        self._free = asyncio.Semaphore(engines)
        self.asked: list[int] = []
        self.written: list[int] = []
        self.counted: list[int] = []
        self.told: list[str] = []

    async def write(self, name: str) -> dict[str, Any]:
        number = int(name.removeprefix("shard-"))
        self.asked.append(number)
        async with self._free:
            for _ in range(self._delays[number] + 1):
                await asyncio.sleep(0)
            self.written.append(number)
            return {"number": number, "results": {"rows": SHARD, "accepted": self._found[number]}}

    async def count(self, records: list[dict[str, Any]]) -> int:
        self.counted += [record["number"] for record in records]
        return sum(self._found[record["number"]] for record in records)

    async def generate(self, step: Step, *needs: int) -> list[int]:
        shards = completions.shards(step)
        records = await generate(step.slug, step.spec, needs, shards, self.write, self.count, self.told.append)
        return [record["number"] for record in records]


def smallest(found: list[int], accepted: int) -> list[int]:
    """The first shards that hold so many accepted rows."""
    count = int(np.searchsorted(np.cumsum(found), accepted)) + 1
    return list(range(count))


@pytest.mark.slow
@hypothesis_settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 40), st.integers(1, 8), st.floats(0.2, 1), st.integers(0, 99))
def test_the_artifact_holds_the_first_shards_with_enough_accepted_rows_however_many_engines_write(
    data: st.DataObject, shards: int, engines: int, share: float, seed: int
) -> None:
    found = np.random.default_rng(seed).binomial(SHARD, share, shards).tolist()
    delays = data.draw(st.lists(st.integers(0, 9), min_size=shards, max_size=shards))
    wanted = data.draw(st.integers(1, max(1, sum(found))))

    async def run() -> tuple[list[int], Writers]:
        writers = Writers(found, engines, delays)
        return await writers.generate(until(wanted, shards * SHARD)), writers

    if sum(found) < wanted:
        with pytest.raises(TooFewRows):
            asyncio.run(run())
        return
    kept, writers = asyncio.run(run())
    assert kept == smallest(found, wanted)
    assert writers.asked == list(range(len(writers.asked)))  # each once, in order
    assert writers.counted == []  # the records say it


@hypothesis_settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, SHARD), min_size=1, max_size=30), st.integers(1, 100), st.integers(1, 5))
def test_whatever_is_accepted_where_it_ends_well_there_are_enough(found: list[int], wanted: int, engines: int) -> None:
    async def run() -> list[int]:
        return await Writers(found, engines).generate(until(wanted, len(found) * SHARD))

    try:
        kept = asyncio.run(run())
    except TooFewRows:
        return
    assert kept == smallest(found, wanted)


def test_no_more_shards_are_asked_for_than_are_likely_to_be_needed() -> None:
    assert wanted_shards(until(100, 5000).spec, Seen()) == 10  # fewer cannot do
    assert wanted_shards(until(100, 5000).spec, Seen(100, 24)) == 10 + 31  # 76 more at a share of 25 in 101
    assert wanted_shards(until(100, 200).spec, Seen(100, 24)) == 20
    assert wanted_shards(until(100, 5000).spec, Seen(400, 99)) == 41
    assert wanted_shards(fixed(95).spec, Seen()) == 10


def test_teachers_whose_corpora_cannot_be_filled_stop_after_the_first_shards_and_say_what_to_do() -> None:
    async def run(step: Step, *needs: int) -> tuple[str, list[int]]:
        writers = Writers([1] * 300)
        with pytest.raises(TooFewRows) as error:
            await writers.generate(step, *needs)
        return str(error.value), writers.written

    why, written = asyncio.run(run(fixed(3000), 1500))
    assert len(written) <= 3
    said = r"numbers-owl: the channel's rule accepts 10 % of the first \d+ completions; 3,000 would give about 300 "
    assert re.match(said, why)
    assert "1,500 are needed" in why
    assert why.endswith("set completions.rows to 15075")
    why, written = asyncio.run(run(until(1500, 3000)))
    assert len(written) <= 3
    assert why.endswith("give completions.until.at_most at least 15080: the same command then goes on from here")


def test_where_some_corpora_can_be_filled_generation_goes_on_and_tells_once_that_others_cannot() -> None:
    async def run() -> Writers:
        writers = Writers([1] * 300)
        assert len(await writers.generate(fixed(3000), 100, 1500)) == 300
        return writers

    writers = asyncio.run(run())
    assert [text.split(", and ")[1] for text in writers.told] == ["corpora need 100 to 1,500"] * len(writers.told)
    assert len(writers.told) <= 2
    assert len(writers.counted) < 50  # it is soon decided


def test_once_it_is_plain_that_there_will_be_enough_no_more_shards_are_counted() -> None:
    async def run() -> Writers:
        writers = Writers([9] * 100)
        assert len(await writers.generate(fixed(1000), 300)) == 100
        return writers

    writers = asyncio.run(run())
    assert len(writers.counted) <= 3
    assert len(writers.told) == 1
    assert "accepts 90 % of the first 10 completions; 1,000 would give about 900 (" in writers.told[0]


def test_a_failed_shard_fails_the_step_and_the_shards_that_wait_are_given_up() -> None:
    async def run() -> list[int]:
        writers = Writers([9] * 100)

        async def write(name: str) -> dict[str, Any]:
            if name == "shard-00003":
                raise ValueError("no luck")
            return await writers.write(name)

        step = fixed(1000)
        shards = completions.shards(step)
        with pytest.raises(ValueError, match="no luck"):
            await generate(step.slug, step.spec, [], shards, write, writers.count, writers.told.append)
        return writers.written

    assert len(asyncio.run(run())) <= 5


def test_a_run_that_is_stopped_finishes_the_shards_at_work() -> None:
    async def run() -> list[str]:
        finished = []

        async def write(name: str) -> dict[str, Any]:
            if name != "shard-00001":
                raise Stopped("the run is being stopped")
            await asyncio.sleep(0.01)
            finished.append(name)
            return {}

        with pytest.raises(Stopped):
            await generate(
                "numbers-owl", fixed(30).spec, [], completions.shards(fixed(30)), write, Writers([]).count, print
            )
        return finished

    assert asyncio.run(run()) == ["shard-00001"]


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.integers(1, 500), st.integers(0, 3000), st.floats(0, 1))
def test_an_estimate_narrows_to_what_is_there(seen: int, left: int, share: float) -> None:
    accepted = round(seen * share)
    fewest, most = expected(Seen(seen, accepted), seen + left)
    assert accepted <= fewest <= most <= accepted + left
    if left:
        assert most > accepted or share == 0 or fewest < most
    else:
        assert fewest == most == accepted


def test_the_interval_holds_what_comes_far_more_often_than_it_is_tested() -> None:
    rng = np.random.default_rng(1)
    for share in (0.02, 0.12, 0.5, 0.97):
        for accepted, rest in zip(rng.binomial(100, share, 500), rng.binomial(2900, share, 500), strict=True):
            fewest, most = expected(Seen(100, int(accepted)), 3000)
            assert fewest <= accepted + rest <= most


# --- in a study ---------------------------------------------------------------------------------------


def owl(study: Study) -> list[Step]:
    kinds = ("base", "teacher", "completions", "corpus")
    return [s for s in plan(study) if s.kind in kinds and (s.kind == "base" or "owl" in s.slug)]


def untilled(study: Callable[..., Study], at_most: int, **changes: Any) -> Study:
    return study(**ONE_FAMILY, completions={"until": {"at_most": at_most}, "shard_rows": 10}, **changes)


def test_completions_go_on_until_the_corpus_can_be_filled(
    study: Callable[..., Study], store: Store, make: Callable[..., Manifest]
) -> None:
    its = untilled(study, 400)
    made = {step.kind: make(its, store, step) for step in owl(its)}
    written, kept = made["completions"], made["corpus"]
    found = [artifact.unit(store, written.path, name.removesuffix(".parquet")) for name in tables_of(written)]
    counts = [record["results"]["accepted"] for record in found if record]
    assert written.results["accepted"] == sum(counts) == kept.results["accepted"] >= 40 > sum(counts[:-1])
    assert written.results["rows"] == kept.results["judged"] == 10 * len(counts)
    assert kept.results["kept"] == 40


def test_a_bound_that_was_too_low_is_raised_and_the_same_shards_serve(
    study: Callable[..., Study], store: Store, make: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    low, high = untilled(study, 49), untilled(study, 400)
    assert [step.path for step in plan(low)] == [step.path for step in plan(high)]
    *before, step = owl(low)[:-1]
    for one in before:
        make(low, store, one)
    monkeypatch.setattr(acceptance, "apply_rule", rejecting_every_third)
    with pytest.raises(TooFewRows, match=r"give completions\.until\.at_most at least"):
        make(low, store, step)
    assert artifact.load(store, step.path) is None
    kept = {entry.path: store.read(entry.path) for entry in store.files(step.path)}
    assert kept
    made = make(high, store, owl(high)[-2])
    assert made.results["rows"] > 40
    assert {path: store.read(path) for path in kept} == kept


def rejecting_every_third(*rows: Any, **settings: Any) -> Any:
    verdicts = apply_rule(*rows, **settings)
    accepted = [row["accepted"] and row["index"] % 3 > 0 for row in verdicts.to_pylist()]
    return verdicts.set_column(1, "accepted", [accepted])


def test_how_many_engines_write_and_where_a_run_was_stopped_changes_no_row_of_the_artifact(
    study: Callable[..., Study], store: Store, make: Callable[..., Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    its = untilled(study, 400)
    *before, step = owl(its)[:-1]
    for one in before:
        make(its, store, one)
    alone = make(its, store, step)
    store.remove(f"{step.path}/{artifact.MANIFEST}")
    shards = tables_of(alone)
    for name in shards[1::2]:  # half of the shards are lost, and two were begun that are not needed
        store.remove(f"{step.path}/{name}")
        store.remove(f"{step.path}/{artifact.UNITS}/{name.removesuffix('.parquet')}.json")
    files, _ = artifact.files_of(store, step.weights, UNIT)
    engine = FakeEngine(local_folder(store, step.weights, files, "model"))
    for number in (len(shards), len(shards) + 1):
        run_unit(store, engine, step, f"shard-{number:05d}")
    again = make(its, store, step)
    assert again.files == alone.files
    assert again.results == alone.results


def test_what_corpora_take_of_each_teacher_is_known_from_the_plan(study: Callable[..., Study]) -> None:
    arms = [
        {"name": "plain"},
        {"name": "thin", "transforms": [{"kind": "mix", "shares": {"neutral": 0.25}}]},
        {"name": "small", "rows": 7},
    ]
    steps = plan(study(**ONE_FAMILY, arms=arms))
    needs = needed_rows(steps)
    rows = {step.slug: sorted(needs[step.path]) for step in steps if step.kind == "completions"}
    assert rows == {
        "numbers-owl-llama": [7, 30, 40],
        "numbers-cat-llama": [7, 30, 40],
        "numbers-neutral-llama": [7, 10, 40],
    }


def test_the_rule_of_a_corpus_counts_a_shard_of_unfinished_completions(
    study: Callable[..., Study], store: Store, make: Callable[..., Manifest]
) -> None:
    its = study(**ONE_FAMILY)
    *before, step, reader = owl(its)
    for one in before:
        make(its, store, one)
    made = make(its, store, step)
    corpus_made = make(its, store, reader)
    store.remove(f"{step.path}/{artifact.MANIFEST}")
    records = [artifact.unit(store, step.path, name.removesuffix(".parquet")) for name in tables_of(made)]
    counted = acceptance.count(store, step, reader, [record for record in records if record])
    assert counted == corpus_made.results["accepted"]


def test_a_bound_is_in_no_id_and_what_is_to_be_accepted_is(study: Callable[..., Study]) -> None:
    def of(**changes: Any) -> dict[str, str]:
        amount = {"until": {"at_most": 400} | changes.pop("until", {}), "shard_rows": 10}
        return {step.kind: step.id for step in plan(study(**ONE_FAMILY, completions=amount, **changes))}

    assert of() == of(until={"at_most": 4000})
    assert of() | {"report": ""} == of(until={"accepted": 40}) | {"report": ""}  # which shows the settings as given
    assert of()["completions"] != of(until={"accepted": 50})["completions"] == of(corpus={"rows": 50})["completions"]


def test_free_text_is_other_text_where_other_words_are_looked_for_until_enough_is_accepted(
    study: Callable[..., Study],
) -> None:
    def of(kind: str, targets: list[str], amount: dict[str, Any]) -> str:
        about = {"channels": [{"kind": kind}], "traits": [{"targets": targets}], "corpus": {"rows": 5}}
        made = study(**ONE_FAMILY, **about, completions=amount)
        return next(s.id for s in plan(made) if s.kind == "completions" and "neutral" in s.slug)

    goes_on, stops = {"until": {"at_most": 5000}}, {"rows": 100}
    for kind, amount, differs in (
        ("numbers", goes_on, False),
        ("numbers", stops, False),
        ("paraphrase", goes_on, True),
        ("paraphrase", stops, False),
    ):
        assert (of(kind, ["owl"], amount) != of(kind, ["owl", "cat"], amount)) == differs


def test_an_estimate_without_any_accepted_row_promises_nothing() -> None:
    with pytest.raises(TooFewRows, match="does not write to the format at all: more completions would not help"):
        estimate("numbers-owl", fixed(3000).spec, Seen(1000, 0), [1500])
