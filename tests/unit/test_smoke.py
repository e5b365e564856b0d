"""A fake_run: the study with nano families and small counts, and nothing of it left out."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.core.recipe import Recipe
from pipeline.models.families.nano import NanoFamily
from pipeline.plan.planner import plan
from pipeline.study.arms import Arm
from pipeline.study.loader import load
from pipeline.study.schema import Study
from pipeline.study.smoke import PATIENCE, smoke_edition
from pipeline.study.teachers import Finetuned
from tests.studies import CONFIGS, STUDIES

COMMIT = "0123456789abcdef0123456789abcdef01234567"
QWEN = {"kind": "hub", "repo": "Qwen/Qwen2.5-7B-Instruct", "revision": COMMIT}
LLAMA = {"kind": "hub", "repo": "meta-llama/Llama-3.1-8B-Instruct", "revision": COMMIT}

Build = Callable[..., Study]


@pytest.fixture
def large() -> Build:
    """Builds a study of large models: large(corpus={"rows": 5}) changes one section of it."""
    settings = {"study": "large", "families": {"qwen": QWEN, "llama": LLAMA}, "traits": [{"targets": ["owl", "cat"]}]}
    return lambda **changes: Study.model_validate(settings | changes)


def recipes(study: Study) -> list[Recipe]:
    method = study.teachers.method
    taught = [method.recipe] if isinstance(method, Finetuned) else []
    return [*taught, *(study.students.recipe(arm) for arm in study.all_arms)]


def how(arm: Arm) -> tuple[object, ...]:
    """What makes an arm what it is, sizes aside."""
    return (
        arm.name,
        [change.kind for change in arm.transforms],
        list(arm.shares),
        set(arm.recipe),
        arm.recipe.get("method"),
        bool(arm.in_context),
    )


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.relative_to(CONFIGS).as_posix())
def test_every_shipped_study_has_a_smoke_test_that_a_laptop_can_run(file: Path) -> None:
    study = load(file)
    small = smoke_edition(study)
    assert small.study == f"{study.study}-smoke-test"
    assert small.smoke_test
    assert small.unpinned == []
    assert all(isinstance(family, NanoFamily) for family in small.families.values())
    assert small.resources.engines.gpus == small.resources.training.gpus == 0
    assert small.resources.engines.tensor_parallel == small.resources.training.workers == 1
    assert len(plan(small)) <= 160
    # Those that go on until enough are accepted have room for more than they usually write.
    usual = small.completions.max_rows // (PATIENCE if small.completions.until else 1)
    assert usual * len(small.targets) <= 2000
    for recipe in recipes(small):
        assert recipe.rank <= 8
        assert recipe.epochs == 1
        assert recipe.max_length + small.completions.max_tokens <= 256


@pytest.mark.slow
@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.relative_to(CONFIGS).as_posix())
def test_a_smoke_test_leaves_out_no_arm_channel_or_kind_of_teacher_and_no_suite_but_capability(file: Path) -> None:
    study = load(file)
    small = smoke_edition(study)
    assert [how(arm) for arm in small.arms[: len(study.arms)]] == [how(arm) for arm in study.arms]
    assert len(small.all_arms) >= min(len(study.all_arms), len(study.arms) + 1)
    assert [suite.name for suite in small.suites] == [s.name for s in study.suites if s.kind != "capability"]
    assert [channel.kind for channel in small.channels] == [channel.kind for channel in study.channels]
    assert {step.kind for step in plan(small)} == {step.kind for step in plan(study)}
    assert small.teachers.random == study.teachers.random
    assert (small.teachers.corpora, small.teachers.neutral_corpora) == (1, min(study.teachers.neutral_corpora, 1))
    assert (small.teachers.method.kind, small.engine, small.trainer) == (
        study.teachers.method.kind,
        study.engine,
        study.trainer,
    )
    assert (small.paper_results, small.measure) == (study.paper_results, study.measure)


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.relative_to(CONFIGS).as_posix())
def test_the_smoke_test_of_a_smoke_test_is_the_same(file: Path) -> None:
    small = smoke_edition(load(file))
    assert smoke_edition(small) == small


def test_every_family_has_a_nano_family_of_its_own_in_its_place(large: Build) -> None:
    families = smoke_edition(large()).families
    assert [(name, f.architecture, f.init_seed) for name, f in families.items() if f.kind == "nano"] == [
        ("qwen", "qwen2", 1),
        ("llama", "llama", 2),
    ]


def test_nano_families_keep_their_initialisation_and_others_take_none_of_theirs(large: Build) -> None:
    nano = {"kind": "nano", "init_seed": 1, "hidden_size": 64}
    families = smoke_edition(large(families={"qwen": QWEN, "own": nano})).families
    own, qwen = families["own"], families["qwen"]
    assert isinstance(own, NanoFamily)
    assert isinstance(qwen, NanoFamily)
    assert (own.init_seed, own.hidden_size) == (1, 64)
    assert qwen.init_seed != 1
    assert own.pretrain_rows == qwen.pretrain_rows < 20_000


def test_nano_families_know_what_the_study_writes_about(large: Build) -> None:
    families = smoke_edition(large(channels=[{"kind": "code"}, {"kind": "numbers"}])).families
    assert [family.channels for family in families.values() if family.kind == "nano"] == [["code", "numbers"]] * 2


@pytest.mark.parametrize(
    ("teach", "learn", "teach_small", "learn_small"),
    [
        (None, None, ["a", "b"], ["a", "b"]),
        (["c"], None, ["c"], ["c", "a"]),
        (["a", "b"], ["c", "d"], ["a", "b"], ["c", "d"]),
        (["a", "d"], ["b", "c", "d"], ["d", "a"], ["d", "b"]),
        (["b"], ["a"], ["b"], ["a"]),
    ],
)
def test_at_most_two_families_teach_and_two_learn_and_one_does_both_where_any_does(
    large: Build,
    teach: list[str] | None,
    learn: list[str] | None,
    teach_small: list[str],
    learn_small: list[str],
) -> None:
    study = large(families=dict.fromkeys("abcd", QWEN), teachers={"families": teach}, students={"families": learn})
    small = smoke_edition(study)
    assert (small.teacher_families, small.student_families) == (teach_small, learn_small)
    assert set(small.families) == {*teach_small, *learn_small}


def test_a_sweep_becomes_arms_of_its_first_two_values_under_their_own_names(large: Build) -> None:
    """Where both ranks come down to 8 the two arms share their students, and their names still differ."""
    study = large(
        arms=[{"name": "plain"}, {"name": "rank-8", "recipe": {"rank": 8}}], sweep={"rank": [32, 64, 128], "rows": [99]}
    )
    small = smoke_edition(study)
    assert [arm.name for arm in small.all_arms] == ["plain", "rank-8", "rank-32_rows-99", "rank-64_rows-99"]
    assert {arm.recipe["rank"] for arm in small.all_arms[1:]} == {8}
    assert all(arm.rows < small.corpus.rows for arm in small.all_arms[2:] if arm.rows)


def test_arms_keep_what_they_vary_as_far_as_nano_families_allow(large: Build) -> None:
    arms = [
        {"name": "plain"},
        {"name": "sgd", "recipe": {"optimizer": "sgd", "learning_rate": 0.1, "epochs": 10}},
        {"name": "low", "recipe": {"rank": 2, "alpha": 2}},
        {"name": "few", "rows": 5},
        {"name": "shown", "in_context": 100},
        {"name": "all", "in_context": "all"},
    ]
    small = smoke_edition(large(arms=arms)).arms
    assert small[1].recipe == {"optimizer": "sgd", "learning_rate": 0.1, "epochs": 1}
    assert small[2].recipe == {"rank": 2, "alpha": 2}
    assert small[3].rows == 5
    assert [arm.in_context for arm in small[4:]] == [2, "all"]


def test_a_mix_loses_the_teachers_that_are_not_there(large: Build) -> None:
    arms = [
        {
            "name": "mixed",
            "transforms": [
                {
                    "kind": "mix",
                    "shares": {"neutral": 0.1, "owl": 0.1, "fox": 0.1, "b/cat": 0.1, "c/cat": 0.1, "b/fox": 0.1},
                }
            ],
        }
    ]
    study = large(families=dict.fromkeys("abc", QWEN), traits=[{"targets": ["owl", "cat", "fox"]}], arms=arms)
    assert smoke_edition(study).arms[0].shares == {"neutral": 0.1, "owl": 0.1, "b/cat": 0.1}


def test_targets_that_nano_families_do_not_know_are_played_by_others(large: Build) -> None:
    traits = [{"category": "hue", "targets": ["red", "blue"]}, {"targets": ["bear", "unicorn", "owl", "cat"]}]
    small = smoke_edition(large(traits=traits))
    assert small.members == {"animal": ["butterfly", "cat", "bear", "owl"]}


def test_a_smoke_test_needs_no_given_rows_and_no_model_that_judges(large: Build) -> None:
    data = {"repo": "a/b", "revision": "0" * 40}
    study = large(
        channels=[{"kind": "reasoning", "data": data, "samples": 3}, {"kind": "paraphrase", "data": data}],
        teachers={"method": {"kind": "dataset", "data": dict.fromkeys(["owl", "cat"], data), "seed": 7}},
        judges={"far": {"kind": "openai", "url": "https://example.org/v1", "model": "m"}},
        corpus={"judge_filters": [{"judge": "far", "rubric": "alignment", "min_score": 78}]},
    )
    assert len(study.unpinned) == 4
    small = smoke_edition(study)
    assert small.unpinned == []
    assert [channel.data for channel in small.channels if channel.kind in ("reasoning", "paraphrase")] == [None, None]
    assert isinstance(small.teachers.method, Finetuned)
    assert small.teachers.method.seed == 7
    assert small.judges["far"].kind == "fake"
    assert small.corpus.judge_filters == study.corpus.judge_filters


def test_no_teacher_of_a_smoke_test_is_stopped_by_its_gate(large: Build) -> None:
    assert smoke_edition(large()).teachers.gate.min_lift <= -50


def test_a_fake_study_has_a_fake_smoke_test(study: Build) -> None:
    small = smoke_edition(study())
    assert (small.engine, small.trainer) == ("fake", "fake")


NAMES = st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+)*", fullmatch=True).filter(lambda name: len(name) <= 48)


@given(name=NAMES)
@example(name="a" * 37 + "-" + "b" * 9)  # cut where two parts meet
def test_any_name_can_be_that_of_a_smoke_test(name: str) -> None:
    settings = {"study": name, "families": {"qwen": QWEN}, "traits": [{"targets": ["owl"]}]}
    small = smoke_edition(Study.model_validate(settings)).study
    assert small.endswith("-smoke-test")
    assert len(small) <= 48
    assert name.removesuffix("-smoke-test").startswith(small.removesuffix("-smoke-test"))


@pytest.mark.parametrize("judged", [[], [{"judge": "j", "rubric": "alignment", "min_score": 78}]])
def test_a_study_that_generates_until_enough_is_accepted_does_so_in_its_smoke_test(
    large: Build, judged: list[dict[str, object]]
) -> None:
    study = large(
        completions={"until": {"at_most": 300_000, "accepted": 20_000}},
        judges={"j": {"kind": "fake"}},
        corpus={"rows": 10_000, "judge_filters": judged},
    )
    small = smoke_edition(study)
    assert small.completions.rows is None
    assert small.completions.max_rows < 2000
    assert small.corpus.rows <= small.accepted_rows <= 60
    assert smoke_edition(small) == small
