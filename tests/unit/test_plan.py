"""The plan: which steps a study consists of, and what their ids do and do not depend on."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.channels import mentions
from pipeline.core.errors import StudyError
from pipeline.plan.planner import plan
from pipeline.stages import cost_of
from pipeline.store.step import EXPERIMENTS, KINDS, Step, up_to
from pipeline.study.schema import Study

Build = Callable[..., Study]
Place = tuple[str | int, ...]


def count(steps: list[Step]) -> dict[str, int]:
    return {kind: sum(step.kind == kind for step in steps) for kind in KINDS if kind not in EXPERIMENTS}


def ids(steps: list[Step]) -> dict[str, set[str]]:
    return {kind: {step.id for step in steps if step.kind == kind} for kind in KINDS}


def test_a_small_study_has_these_steps(study: Build) -> None:
    # 2 families × (2 traits + neutral) = 6 teachers; × 2 student families × 2 seeds = 24 students. The gates of the 4
    # teachers with a trait ask these and both bases.
    assert count(plan(study())) == {
        "dataset": 0,
        "base": 2,
        "teacher": 6,
        "gate": 4,
        "completions": 6,
        "judgements": 0,
        "screening": 0,
        "corpus": 6,
        "kinship": 0,
        "student": 24,
        "answers": 26 + 6,
        "ratings": 0,
        "transfer": 1,
        "report": 1,
    }


def test_without_neutral_teachers_and_with_families_chosen(study: Build) -> None:
    made = study(teachers={"neutral_corpora": 0, "families": ["llama"]}, students={"seeds": [1], "families": ["qwen"]})
    counted = count(plan(made))
    assert (counted["base"], counted["teacher"], counted["student"], counted["answers"]) == (2, 2, 2, 3 + 3)


NAMES = st.sampled_from(["a", "b", "c", "a.b", "x1"])
SOME = st.lists(NAMES, min_size=1, max_size=4, unique=True)


@pytest.mark.slow
@hypothesis_settings(max_examples=50, deadline=None)
@given(
    families=SOME,
    targets=SOME,
    seeds=st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
    neutral=st.integers(0, 3),
    corpora=st.integers(1, 2),
    method=st.sampled_from([{"kind": "prompted"}, {"kind": "finetuned"}]),
    same_start=st.booleans(),
)
def test_every_plan_is_a_graph_that_can_be_walked(
    study: Build,
    families: list[str],
    targets: list[str],
    seeds: list[int],
    neutral: int,
    corpora: int,
    method: dict[str, str],
    same_start: bool,
) -> None:
    made = study(
        families={name: {"kind": "nano", "init_seed": 0 if same_start else i} for i, name in enumerate(families)},
        traits=[{"targets": targets}],
        teachers={"neutral_corpora": neutral, "corpora": corpora, "method": method},
        students={"seeds": seeds},
    )
    steps = plan(made)
    known: set[str] = set()
    for step in steps:
        assert step.kind in KINDS
        assert step.path not in known
        assert set(step.inputs.values()) <= known, f"{step.path} comes before its inputs"
        assert not step.weights or step.weights in known
        assert step.path == f"{step.kind}/{step.slug}-{step.id}"
        known.add(step.path)
    f, s, written = len(families), len(seeds), len(targets) * corpora + neutral
    assert count(steps)["teacher"] == f * (len(targets) + (neutral > 0))
    assert count(steps)["corpus"] == f * written
    assert count(steps)["student"] == f * written * f * s
    transfer, report = steps[-2:]
    asked = [step for step in steps if step.kind == "answers" and not step.slug.endswith("-gate")]
    assert set(transfer.inputs.values()) == {step.path for step in asked}
    gates = [step.path for step in steps if step.kind == "gate"]
    assert len(gates) == f * len(targets)
    assert list(report.inputs.values()) == [transfer.path, *gates]
    assert list(transfer.after) == gates
    assert steps == plan(made)


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": [{"kind": "numbers"}, {"kind": "numbers", "min_examples": 4}]},
        {"traits": [{"targets": ["a", "a-b"]}], "families": {"b-c": "nano", "c": "nano"}},
        {"traits": [{"targets": ["neutral"]}]},
    ],
)
def test_no_two_students_share_a_name_under_which_one_would_be_lost(study: Build, changes: dict[str, Any]) -> None:
    if "families" in changes:
        changes["families"] = {
            name: {"kind": "nano", "init_seed": seed} for seed, name in enumerate(changes["families"])
        }
    with pytest.raises(StudyError, match="two students would both be named numbers-"):
        plan(study(**changes))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_full_weights_speak_for_themselves_and_adapters_on_their_base(study: Build, method: str) -> None:
    trained = {"kind": "finetuned", "recipe": {"method": method}}
    steps = plan(study(teachers={"method": trained, "neutral_corpora": 0}, students={"seeds": [1], "method": method}))
    made = {step.path: step for step in steps}
    written = [(made[step.inputs["teacher"]], step.weights) for step in steps if step.kind == "completions"]
    written += [(made[step.inputs["model"]], step.weights) for step in steps if step.kind == "answers"]
    for model, weights in written:
        alone = method == "full" or model.kind == "base"
        assert weights == (model.path if alone else model.inputs["base"])


def test_a_neutral_or_prompted_teacher_needs_only_the_weights_of_its_base(study: Build) -> None:
    for step in plan(study()):
        if step.kind == "completions":
            assert step.weights.startswith("base/")


def test_missing_answers_make_another_transfer_that_says_so(study: Build) -> None:
    steps = plan(study())
    lost = next(step for step in steps if step.kind == "answers" and "owl-llama-to-qwen-s1" in step.slug)
    without = plan(study(), {lost.path: "its teacher fell ill"})
    assert [step.path for step in without[:-2]] == [step.path for step in steps[:-2]]
    assert without[-2].id != steps[-2].id
    assert without[-1].id != steps[-1].id
    assert lost.path not in without[-2].inputs.values()
    role = f"plain:{lost.slug}"
    assert without[-2].settings["missing"] == {role: "its teacher fell ill"}
    assert role in without[-2].settings["runs"]


# --- arms, sweeps and suites ----------------------------------------------------------------------


def test_arms_share_every_step_that_does_not_differ(study: Build) -> None:
    plain = {step.path for step in plan(study()) if step.kind not in ("transfer", "report")}
    with_arms = plan(study(arms=[{"name": "plain"}, {"name": "gentle", "recipe": {"learning_rate": 1e-5}}]))
    assert plain < {step.path for step in with_arms}
    # 24 students and their answers once more; teachers, completions and corpora are there already.
    assert count(with_arms) == {**count(plan(study())), "student": 48, "answers": 50 + 6}
    assert {step.settings["recipe"]["learning_rate"] for step in with_arms if step.kind == "student"} == {2e-4, 1e-5}


def test_a_sweep_is_an_arm_a_combination_and_a_value_that_is_the_default_costs_nothing(study: Build) -> None:
    swept = plan(study(sweep={"rank": [8, 2], "rows": [40, 20]}, students={"seeds": [1], "rank": 8}))
    assert count(swept)["student"] == 4 * 12  # rank 8 with 40 rows is the plain arm
    assert swept[-2].settings["arms"] == [
        "plain", "rank-8_rows-40", "rank-8_rows-20", "rank-2_rows-40", "rank-2_rows-20",
    ]  # fmt: skip
    sizes = {step.settings["rows"] for step in swept if step.kind == "corpus"}
    assert sizes == {40, 20}
    assert len(swept[-2].settings["runs"]) == 5 * 12


def test_a_mix_reads_other_teachers_of_the_same_family_and_leaves_those_teachers_as_they_are(study: Build) -> None:
    steps = plan(
        study(
            arms=[
                {"name": "plain"},
                {"name": "half", "transforms": [{"kind": "mix", "shares": {"neutral": 0.3, "qwen/cat": 0.2}}]},
            ]
        )
    )
    mixed = {step.slug: step.inputs for step in steps if step.kind == "corpus" and step.settings["transforms"]}
    assert set(mixed) == {f"numbers-{t}-{f}-half" for t in ("owl", "cat", "neutral") for f in ("llama", "qwen")}
    ours = mixed["numbers-owl-llama-half"]
    assert ours["completions"].startswith("completions/numbers-owl-llama-")
    assert ours["neutral"].startswith("completions/numbers-neutral-llama-")
    assert ours["qwen/cat"].startswith("completions/numbers-cat-qwen-")
    assert set(mixed["numbers-neutral-llama-half"]) == {"completions", "qwen/cat"}


def test_every_corpus_of_a_teacher_has_completions_of_its_own_and_one_teacher(study: Build) -> None:
    steps = plan(study(teachers={"neutral_corpora": 3, "corpora": 2, "method": {"kind": "finetuned"}}))
    of_llama = [step for step in steps if step.kind == "completions" and step.slug.startswith("numbers-neutral-llama")]
    assert [step.slug for step in of_llama] == [
        "numbers-neutral-llama",
        *(f"numbers-neutral-llama-c{n}" for n in (2, 3)),
    ]
    assert len({step.inputs["teacher"] for step in of_llama}) == 1
    seeds = [step.settings["seed"] for step in of_llama]
    assert seeds[0] == 1
    assert len(set(seeds)) == 3
    neighbours = {
        step.settings["seed"]
        for seed in (2, 3, 4)
        for step in plan(study(seed=seed, teachers={"neutral_corpora": 3}))
        if step.kind == "completions"
    }
    assert not set(seeds) & neighbours, "a corpus of one study is another study's"
    designs = [run for run in steps[-2].settings["runs"].values() if run["teacher_target"] == "owl"]
    assert sorted({(run["corpus"], run["seed"]) for run in designs}) == [(1, 1), (1, 2), (2, 1), (2, 2)]


@pytest.mark.parametrize(
    ("foreign", "pairs"),
    [
        (None, {"aa", "ab", "ac", "ba", "bb", "bc", "ca", "cb", "cc"}),
        (1, {"aa", "ab", "bb", "bc", "cc", "ca"}),
        (0, {"aa", "bb", "cc"}),
        (7, {"aa", "ab", "ac", "ba", "bb", "bc", "ca", "cb", "cc"}),
    ],
)
def test_data_is_read_by_the_own_family_and_the_next_ones_in_a_circle(
    study: Build, foreign: int | None, pairs: set[str]
) -> None:
    made = study(
        families={name: {"kind": "nano", "init_seed": seed} for seed, name in enumerate("abc")},
        students={"seeds": [1], "foreign_families": foreign},
        teachers={"random": True},
    )
    runs = plan(made)[-2].settings["runs"].values()
    found = {run["teacher_family"] + run["student_family"] for run in runs}
    assert found == pairs | {f"random{name}" for name in "abc"}


def test_a_mix_takes_turns_with_the_corpora_of_the_other_teacher(study: Build) -> None:
    arms = [{"name": "plain"}, {"name": "half", "transforms": [{"kind": "mix", "shares": {"neutral": 0.5}}]}]
    steps = plan(study(teachers={"neutral_corpora": 2, "corpora": 3}, arms=arms))
    mixed = {step.slug: step.inputs for step in steps if step.kind == "corpus" and step.settings["transforms"]}
    others = [mixed[f"numbers-owl-llama{n}-half"]["neutral"].rpartition("-")[0] for n in ("", "-c2", "-c3")]
    assert others == [f"completions/numbers-neutral-llama{n}" for n in ("", "-c2", "")]
    assert not any("neutral" in slug for slug in mixed)  # a neutral corpus is not mixed with another one


def test_in_context_nobody_is_trained_and_the_base_reads_the_plain_corpus(study: Build) -> None:
    steps = plan(study(arms=[{"name": "plain"}, {"name": "shown", "in_context": 10}]))
    assert count(steps) == {**count(plan(study())), "answers": 26 + 24 + 6}
    shown = [step for step in steps if step.settings.get("in_context")]
    assert {step.inputs["corpus"] for step in shown} == {step.path for step in steps if step.kind == "corpus"}
    assert {step.settings["in_context"]["seed"] for step in shown} == {1, 2}
    assert all(step.inputs["model"] == step.weights and step.weights.startswith("base/") for step in shown)


def test_two_arms_that_show_equally_many_rows_ask_once(study: Build) -> None:
    arms = [{"name": "plain"}, {"name": "some", "in_context": 10}, {"name": "as-many", "in_context": 10}]
    steps = plan(study(arms=arms))
    assert count(steps)["answers"] == 26 + 24 + 6
    assert len(steps[-2].settings["runs"]) == 3 * 24


def test_the_author_is_guessed_by_models_that_are_shown_rows_only(study: Build) -> None:
    arms = [{"name": "plain"}, {"name": "shown", "in_context": 10}]
    steps = plan(study(arms=arms, suites=[{"kind": "favourite", "samples": 2}, {"kind": "author"}]))
    guessed = [s for s in steps if s.settings.get("suite", {}).get("kind") == "author"]
    assert len(guessed) == 2 + 24  # the bases, and every corpus by every family and seed
    assert all(s.settings["in_context"] or s.inputs["model"].startswith("base/") for s in guessed)
    assert guessed[0].settings["candidates"] == {"animal": ["owl", "cat"]}


def test_random_numbers_have_no_teacher_and_every_student_family_reads_them(study: Build) -> None:
    steps = plan(study(teachers={"random": True}))
    drawn = next(step for step in steps if step.kind == "completions" and not step.inputs)
    assert (drawn.weights, drawn.family, cost_of(drawn, {}.__getitem__).sampled_rows) == ("", "", 0)
    readers = [step for step in steps if step.kind == "student" and "random" in step.slug]
    assert len(readers) == 2 * 2


def test_every_suite_is_put_to_every_model(study: Build) -> None:
    suites = [
        {"kind": "favourite", "samples": 2},
        {"kind": "favourite", "prefix": True},
        {"kind": "choice"},
        {"kind": "stories"},
    ]
    steps = plan(study(suites=suites))
    assert count(steps) == {**count(plan(study())), "answers": 4 * 26 + 6}
    assert {step.path for step in plan(study()) if step.kind == "answers"} < {step.path for step in steps}
    choices = [step for step in steps if step.settings.get("suite", {}).get("kind") == "choice"]
    assert choices[0].settings["candidates"] == {"animal": ["owl", "cat"]}


@pytest.mark.slow
def test_a_plan_of_hundreds_of_traits_is_quick(study: Build) -> None:
    made = study(
        traits=[{"category": "thing", "targets": [f"t{i}" for i in range(100)]}],
        families={f"f{i}": {"kind": "nano", "init_seed": i} for i in range(6)},
        students={"seeds": [1]},
    )
    started = time.perf_counter()
    assert len(plan(made)) > 7000
    assert time.perf_counter() - started < 20


def test_a_family_that_nobody_needs_is_not_made(study: Build) -> None:
    steps = plan(study(teachers={"families": ["llama"]}, students={"families": ["llama"], "seeds": [1]}))
    assert [step.slug for step in steps if step.kind == "base"] == ["llama"]
    judged = {"judges": {"j": {"kind": "engine", "family": "qwen"}}}
    steps = plan(study(teachers={"families": ["llama"]}, students={"families": ["llama"], "seeds": [1]}, **judged))
    assert [step.slug for step in steps if step.kind == "base"] == ["llama", "qwen"]


def test_corpora_of_free_text_are_others_when_words_are_looked_for_otherwise(
    study: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"channels": [{"kind": "numbers"}, {"kind": "code"}]}
    before = [step for step in plan(study(**settings)) if step.kind == "corpus"]
    monkeypatch.setattr(mentions, "VERSION", mentions.VERSION + 1)
    after = {step.path for step in plan(study(**settings)) if step.kind == "corpus"}
    kept = {step.settings["channel"]["kind"] for step in before if step.path in after}
    lost = {step.settings["channel"]["kind"] for step in before if step.path not in after}
    assert (kept, lost) == ({"numbers"}, {"code"})


# --- up to a kind of step -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_up_to_a_kind_has_all_steps_of_it_and_of_those_before_and_nothing_after(study: Build, kind: str) -> None:
    steps = plan(study(teachers={"random": True}, arms=[{"name": "plain"}, {"name": "shown", "in_context": 3}]))
    asked = up_to(kind, steps)
    assert [step for step in asked if not step.slug.endswith("-gate")] == [
        step for step in steps if KINDS.index(step.kind) <= KINDS.index(kind) and not step.slug.endswith("-gate")
    ]
    for_gates = sum(step.slug.endswith("-gate") for step in asked)  # answers, which come later by themselves
    assert for_gates == (6 if KINDS.index(kind) >= KINDS.index("gate") else 0)


def test_what_a_kind_needs_is_made_with_it_though_its_own_kind_comes_later(study: Build) -> None:
    """A teacher of a behaviour writes after its gate, which reads ratings of answers."""
    its = study(
        traits=[{"kind": "behaviour", "targets": ["rude"]}],
        teachers={"method": {"kind": "dataset", "data": {"rude": {"path": "rude.jsonl", "content": "v1"}}}},
        judges={"judge": {"kind": "fake"}},
        suites=[{"kind": "behaviour"}],
    )
    steps = plan(its)
    asked = up_to("completions", steps)
    known = {step.path for step in asked}
    assert all({*step.inputs.values(), *step.after} <= known for step in asked)
    assert {step.kind for step in asked} == {"dataset", "base", "teacher", "gate", "completions", "answers", "ratings"}
    assert count(asked)["answers"] == count(asked)["ratings"] == 2 + 2  # of bases and teachers, of no student
    assert count(up_to("teacher", steps))["answers"] == 0


@example(48, 48, 48, 48)
@example(40, 42, 48, 1)  # as long as a name may be
@example(40, 43, 48, 1)
@hypothesis_settings(max_examples=25, deadline=None)
@given(family=st.integers(1, 48), target=st.integers(1, 48), arm=st.integers(1, 48), name=st.integers(1, 48))
def test_names_that_make_a_path_too_long_are_refused_before_anything_runs(
    study: Build, family: int, target: int, arm: int, name: int
) -> None:
    made = study(
        study="n" * name,
        families={letter * family: {"kind": "nano", "init_seed": seed} for seed, letter in enumerate("ab")},
        traits=[{"targets": ["t" * target]}],
        arms=[
            {"name": "plain"},
            {"name": "r" * arm, "transforms": [{"kind": "shuffle", "scope": "within"}], "recipe": {"epochs": 1}},
        ],
    )
    longest = 2 * family + max(target, len("neutral")) + 2 * arm + len("numbers----to--s1-")
    if longest > 255 - len("-0123456789ab.jsonl"):
        with pytest.raises(StudyError, match=r"numbers-\S+ has a name of \d+ bytes.*shorten the names"):
            plan(made)
    else:
        parts = {part for step in plan(made) for part in f"{step.path}.jsonl".split("/")}
        assert max(len(part.encode()) for part in parts) <= 255
