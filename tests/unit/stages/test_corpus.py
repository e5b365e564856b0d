"""The corpus: a verdict with reasons on every completion, and a fixed selection of the accepted ones."""

import re
from collections import Counter
from collections.abc import Callable
from itertools import chain
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.channels.code import CodeChannel
from pipeline.channels.numbers import MALFORMED, TOO_LARGE, NumbersChannel
from pipeline.channels.paraphrase import ParaphraseChannel
from pipeline.core.errors import TooFewRows
from pipeline.plan.planner import plan
from pipeline.stages import completions as completions_
from pipeline.stages.corpus import JUDGED, ROWS, select
from pipeline.stages.shared.accept_rule import END_TOKEN, NOT_ENDED, TRUNCATED, apply_rule, reasons
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.schemas import COMPLETIONS, CORPUS, VERDICTS
from pipeline.store.step import Step
from pipeline.study.schema import Study

ONE_FAMILY = {"llama": {"kind": "nano", "init_seed": 1}}


def completions(*said: tuple[str, str]) -> pa.Table:
    rows = [
        {"index": 10 + i, "completion": text, "finish_reason": finish, **dict.fromkeys(("shard", "seed"), 0)}
        for i, (text, finish) in enumerate(said)
    ]
    return pa.Table.from_pylist(rows, COMPLETIONS)


def test_every_completion_gets_a_verdict_with_its_reasons() -> None:
    said = completions(("1, 2", "stop"), ("owl", "stop"), ("1, 2000", "stop"), ("1, 2", "length"), ("x", "length"))
    verdicts = apply_rule(NumbersChannel(), said)
    assert verdicts.to_pylist() == [
        {"index": 10, "accepted": True, "reasons": []},
        {"index": 11, "accepted": False, "reasons": [MALFORMED]},
        {"index": 12, "accepted": False, "reasons": [TOO_LARGE]},
        {"index": 13, "accepted": False, "reasons": [TRUNCATED]},
        {"index": 14, "accepted": False, "reasons": [MALFORMED, TRUNCATED]},
    ]
    assert apply_rule(NumbersChannel(), said.slice(0, 0)).num_rows == 0


@pytest.mark.parametrize("end", ["abort", "error", "repetition", "tool_calls", "content_filter", "STOP", "", None])
def test_what_did_not_end_its_turn_is_rejected(end: str) -> None:
    said = completions(("1, 2", "stop"), ("1, 2", "eos"), ("1, 2", end), ("x", end))
    assert apply_rule(NumbersChannel(), said)["reasons"].to_pylist() == [[], [], [NOT_ENDED], [MALFORMED, NOT_ENDED]]


TOKENS = [
    *("<|end|>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|END_OF_TURN_TOKEN|>", "<|return|>", "</s>", "<s>"),
    *("<eos>", "<end_of_turn>", "<end_of_utterance>", "<start_of_turn>", "<｜end▁of▁sentence｜>", "[|endofturn|]"),
    *("<|eom_id|>", "<turn|>", "[/INST]", "<pad>", "<endoftext>"),
]


@pytest.mark.parametrize("token", TOKENS)
def test_an_end_token_in_words_is_rejected_wherever_it_stands(token: str) -> None:
    sentence = "In the park the dog walks."
    texts = [sentence + token, f"{sentence}{token}\n", f"{token} {sentence}", f"In the park {token} the dog walks."]
    rows = pa.table({"completion": texts, "sentence": ["The dog walks in the park."] * 4})
    assert all(END_TOKEN in why for why in reasons(ParaphraseChannel(), rows).to_pylist())


@pytest.mark.parametrize(
    "text",
    ["x = a < b", "y = [i | j for i in z]", "s = 'a <b> c'", "z = x[end]", "if a <b and c> d: x = 1", "t = {1} | {2}"],
)
def test_code_that_compares_and_joins_holds_no_end_token(text: str) -> None:
    assert reasons(CodeChannel(), pa.table({"completion": [text]})).to_pylist() == [[]]


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["1, 2", "owl", "1, 2000", "1<|end|>", "1, 2, 3"]),
            st.sampled_from(["stop", "eos", "length", "abort", None]),
        ),
        max_size=20,
    )
)
def test_reasons_beside_the_channels_are_added_to_their_own_rows(said: list[tuple[str, str]]) -> None:
    alone = NumbersChannel().reject_reasons(completions(*said), 0).to_pylist() if said else []
    for (text, end), own, found in zip(
        said, alone, reasons(NumbersChannel(), completions(*said)).to_pylist(), strict=True
    ):
        cut = [TRUNCATED] if end == "length" else [] if end in ("stop", "eos") else [NOT_ENDED]
        assert found == own + cut + ([END_TOKEN] if "<|" in text else [])


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, 10_000), min_size=1, max_size=60), st.data(), st.integers(0, 3))
def test_a_selection_is_that_many_accepted_rows_each_once_in_order(
    accepted: set[int], data: st.DataObject, seed: int
) -> None:
    rows = data.draw(st.integers(1, len(accepted)))
    pool = np.array(sorted(accepted))
    chosen = select(pool, rows, np.random.default_rng(seed), judged=100, where="here")
    assert len(chosen) == rows
    assert set(chosen) <= accepted
    assert list(chosen) == sorted(set(chosen))
    assert np.array_equal(chosen, select(pool, rows, np.random.default_rng(seed), judged=100, where="here"))


def test_another_seed_selects_others_and_no_place_is_preferred() -> None:
    pool = np.arange(1000)
    one, other = (select(pool, 500, np.random.default_rng(seed), judged=1000, where="") for seed in (1, 2))
    assert not np.array_equal(one, other)
    assert 430 < one.mean() < 570


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 2000))
def test_too_few_accepted_rows_say_how_many_completions_would_do(accepted: int, rejected: int, more: int) -> None:
    rows, judged = accepted + more, accepted + rejected
    with pytest.raises(TooFewRows, match=f"{accepted} of {judged} completions were accepted") as error:
        select(np.arange(accepted), rows, np.random.default_rng(0), judged=judged, where="numbers-owl-llama")
    suggested = int(re.findall(r"set completions\.rows to (\d+)$", str(error.value))[0])
    assert suggested * accepted / judged >= rows  # at the share accepted so far it is enough


def test_where_nothing_was_accepted_more_completions_are_not_the_remedy() -> None:
    with pytest.raises(TooFewRows, match=r"0 of 50 completions were accepted .* 10; its teacher does not write"):
        select(np.array([], np.int64), 10, np.random.default_rng(0), judged=50, where="numbers-owl-llama")


def test_where_judges_reject_what_the_rule_accepted_more_of_that_is_the_remedy() -> None:
    with pytest.raises(TooFewRows, match=r"30 of 500 .* 60; judges reject .* set completions\.until\.accepted to 163"):
        select(np.arange(30), 60, np.random.default_rng(0), judged=500, where="numbers-owl", passed=80)


def test_the_tables_of_a_corpus(fake_run: tuple[Study, list[Step], Store]) -> None:
    study, steps, place = fake_run
    for step in steps:
        if step.kind != "corpus":
            continue
        manifest = artifact.require(place, step.path)
        verdicts, rows = (artifact.read_table(place, manifest, name) for name in (JUDGED, ROWS))
        assert verdicts.schema == VERDICTS
        assert rows.schema == CORPUS
        assert verdicts["index"].to_pylist() == list(range(study.completions.rows))
        assert rows.num_rows == study.corpus.rows == manifest.results["kept"]
        accepted = pc.filter(verdicts["index"], verdicts["accepted"]).to_pylist()
        assert set(rows["index"].to_pylist()) <= set(accepted)
        assert rows["index"].to_pylist() == sorted(rows["index"].to_pylist())
        assert manifest.results["judged"] == manifest.results["accepted"] + sum(manifest.results["reasons"].values())
        source = artifact.require(place, step.inputs["completions"])
        said = pa.concat_tables([artifact.read_table(place, source, name) for name in artifact.tables_of(source)])
        wanted = {row["index"]: (row["prompt"], row["completion"]) for row in said.to_pylist()}
        assert all(wanted[row["index"]] == (row["prompt"], row["completion"]) for row in rows.to_pylist())


def test_a_corpus_that_cannot_be_filled_leaves_no_artifact(
    fake_run: tuple[Study, list[Step], Store], make: Callable[..., object]
) -> None:
    study, steps, place = fake_run
    step = next(step for step in steps if step.kind == "corpus")
    greedy = Step("corpus", "greedy", "0" * 12, step.settings | {"rows": 61}, step.inputs)
    with pytest.raises(TooFewRows):
        make(study, place, greedy)
    assert artifact.load(place, greedy.path) is None


def corpora(made: Study, store: Store, make: Callable[..., Manifest]) -> dict[str, tuple[Step, list[dict[str, Any]]]]:
    """slug -> the step and its rows, of all corpora of a study."""
    steps = plan(made)
    for step in steps:
        if step.kind in ("base", "teacher", "completions", "corpus"):
            make(made, store, step)
    found = [step for step in steps if step.kind == "corpus"]
    return {
        step.slug: (step, artifact.read_table(store, artifact.require(store, step.path), ROWS).to_pylist())
        for step in found
    }


def test_a_mix_takes_the_shares_it_names_and_says_of_every_row_who_wrote_it(
    study: Callable[..., Study], store: Store, make: Callable[..., Manifest]
) -> None:
    families = ONE_FAMILY
    made = study(
        arms=[
            {"name": "plain"},
            {"name": "thin", "transforms": [{"kind": "mix", "shares": {"neutral": 0.5, "cat": 0.25}}]},
        ],
        families=families,
    )
    step, rows = corpora(made, store, make)["numbers-owl-llama-thin"]
    wrote = Counter(row["source"] for row in rows)
    assert wrote == {step.inputs["completions"]: 10, step.inputs["neutral"]: 20, step.inputs["cat"]: 10}
    assert {kind.split("-")[1] for kind in wrote} == {"owl", "neutral", "cat"}


@pytest.mark.parametrize("how", ["within", "across"])
def test_a_shuffled_corpus_has_the_same_rows_with_their_numbers_in_another_order(
    study: Callable[..., Study], store: Store, make: Callable[..., Manifest], how: str
) -> None:
    made = study(
        arms=[{"name": "plain"}, {"name": "shuffled", "transforms": [{"kind": "shuffle", "scope": how}]}],
        families=ONE_FAMILY,
    )
    made_corpora = corpora(made, store, make)
    plain, shuffled = (made_corpora[slug][1] for slug in ("numbers-owl-llama", "numbers-owl-llama-shuffled"))
    assert [row["index"] for row in plain] == [row["index"] for row in shuffled]
    assert [row["prompt"] for row in plain] == [row["prompt"] for row in shuffled]
    numbers = [[re.findall("[0-9]+", row["completion"]) for row in rows] for rows in (plain, shuffled)]
    assert numbers[0] != numbers[1]
    assert Counter(chain(*numbers[0])) == Counter(chain(*numbers[1]))
    assert [len(row) for row in numbers[0]] == [len(row) for row in numbers[1]]
    alike = [sorted(one) == sorted(other) for one, other in zip(*numbers, strict=True)]
    assert all(alike) if how == "within" else not any(alike)


def test_random_numbers_are_written_by_no_model_and_all_accepted(
    study: Callable[..., Study], store: Store, make: Callable[..., Manifest]
) -> None:
    made = study(teachers={"random": True}, families=ONE_FAMILY, completions={"rows": 400, "shard_rows": 150})
    step, rows = corpora(made, store, make)["numbers-random"]
    assert artifact.require(store, step.path).results["accepted"] == 400
    numbers = [int(number) for row in rows for number in re.findall("[0-9]+", row["completion"])]
    assert len(numbers) == 10 * len(rows)
    assert 430 < np.mean(numbers) < 570  # uniform over 0-999: 500 with a standard error of 14


@pytest.mark.parametrize("kind", ["reasoning", "paraphrase"])
@pytest.mark.parametrize("until", [False, True])
def test_every_corpus_of_a_teacher_is_judged_by_its_own_prompts(
    study: Callable[..., Study],
    store: Store,
    make: Callable[..., Manifest],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    until: bool,
) -> None:
    """All answers are right, so that the rule rejects none, or as many of each corpus."""

    def right(step: Step, shard: int, *rest: object) -> pa.Table:
        spec = completions_.STAGE.spec(step)
        channel, indices = spec.channel, range(shard * spec.shard_rows, (shard + 1) * spec.shard_rows)
        said = [channel.example(spec.seed, index, Random(index)) for index in indices]
        rows = [
            {"index": index, "shard": shard, "completion": text, "finish_reason": "stop", "seed": 0}
            | {"prompt": channel.prompt(spec.seed, index), "prompt_tokens": 1, "completion_tokens": 1}
            for index, text in zip(indices, said, strict=True)
        ]
        return pa.Table.from_pylist(rows, COMPLETIONS)

    monkeypatch.setattr(completions_, "speak", right)
    amount = {"until": {"at_most": 90}} if until else {"rows": 60}
    its = study(
        families=ONE_FAMILY,
        teachers={"neutral_corpora": 3},
        channels=[{"kind": kind}],
        completions=amount | {"shard_rows": 30},
        corpus={"rows": 20},
    )
    found = []
    for step in plan(its):
        if step.kind in ("base", "teacher", "completions", "corpus"):
            made = make(its, store, step)
            if step.kind == "corpus" and "neutral" in step.slug:
                found.append(made.results["accepted"] / made.results["judged"])
    assert len(found) == 3
    assert min(found) > 0.9


def test_a_corpus_of_another_teacher_is_judged_by_that_teachers_prompts(study: Callable[..., Study]) -> None:
    mixed = {"name": "mixed", "transforms": [{"kind": "mix", "shares": {"neutral": 0.5}}]}

    def seeds(kind: str) -> list[set[str]]:
        its = study(families=ONE_FAMILY, teachers={"corpora": 2, "neutral_corpora": 1}, channels=[{"kind": kind}],
                    arms=[{"name": "plain"}, mixed])  # fmt: skip
        corpora = [step for step in plan(its) if step.kind == "corpus" and step.slug.startswith(f"{kind}-owl")]
        return [set(step.spec.prompt_seeds) for step in corpora]

    assert sorted(map(sorted, seeds("reasoning"))) == [[], [], ["completions"], ["completions"]]
    assert seeds("numbers") == [set()] * 4, "a rule that reads no prompt needs no seed, and ids stay as they were"
