"""The roofline: seconds by hand from the data sheets' figures, and what it says where it cannot know."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.core.recipe import Recipe
from pipeline.models.families.hub import HubFamily
from pipeline.models.families.nano import NanoFamily
from pipeline.models.judges.rubrics import RUBRICS
from pipeline.plan.planner import plan
from pipeline.plan.roofline import (
    GPUS,
    PROMPT_TOKENS,
    Machines,
    Work,
    estimate,
    machines,
    too_large,
)
from pipeline.study.schema import Study
from pipeline.suites.behaviour import BehaviourSuite

REVISION = "a" * 40
H100 = GPUS["H100"]
QWEN = {"kind": "hub", "repo": "Qwen/Qwen2.5-7B-Instruct", "revision": REVISION}


@pytest.fixture
def seven() -> Callable[..., Study]:
    """A study of one family with 7·10⁹ weights."""
    settings: dict[str, Any] = {
        "study": "seven",
        "families": {"qwen": QWEN},
        "traits": [{"targets": ["owl"]}],
        "students": {"seeds": [1, 2, 3, 4], "epochs": 3},
        "completions": {"rows": 30_000, "max_tokens": 60},
        "resources": {"engines": {"gpus": 1}, "training": {"gpus": 1, "groups": 4}},
    }
    return lambda **changes: Study.model_validate(settings | changes)


def work(study: Study, cluster: Machines, **measured: float) -> dict[str, Work]:
    return {row.kind: row for row in estimate(study, plan(study), cluster, measured)}


def test_a_students_time_is_the_operations_of_an_adapters_training_over_the_gpus_speed(seven: Any) -> None:
    row = work(seven(), Machines(8, H100))["student"]
    tokens = 2 * 4 * 10_000 * 3 * (PROMPT_TOKENS + 60)  # owl and neutral, four seeds, three epochs
    assert row.tokens == tokens
    assert row.gpu_seconds == pytest.approx(4 * 7e9 * tokens / 989e12)
    assert row.bound == "compute"
    full = work(seven(students={"seeds": [1, 2, 3, 4], "method": "full"}), Machines(8, H100))["student"]
    assert full.gpu_seconds == pytest.approx(1.5 * row.gpu_seconds)


def test_decoding_reads_all_weights_once_a_step_where_memory_bounds_it(seven: Any) -> None:
    row = work(seven(completions={"rows": 30_000, "max_tokens": 600}), Machines(1, H100))["completions"]
    steps = 2 * 30_000 * 600 / 256
    prefill = 2 * 7e9 * 2 * 30_000 * PROMPT_TOKENS / 989e12
    assert row.gpu_seconds == pytest.approx(steps * 14e9 / 3.35e12 + prefill)
    assert row.bound == "memory"


def test_wall_time_counts_the_gpus_that_a_stage_can_use(seven: Any) -> None:
    few, many = (work(seven(), Machines(count, H100))["student"] for count in (2, 64))
    assert few.wall_seconds(Machines(2, H100)) == pytest.approx(few.gpu_seconds / 2)
    assert many.wall_seconds(Machines(64, H100)) == pytest.approx(few.gpu_seconds / 4)


def test_what_was_measured_takes_the_place_of_the_roofline(seven: Any) -> None:
    row = work(seven(), Machines(8, H100), student=100.0)["student"]
    assert (row.gpu_seconds, row.bound) == (800.0, "measured")


def test_a_family_of_unknown_size_has_no_estimate(seven: Any) -> None:
    row = work(seven(families={"own": QWEN | {"repo": "lab/own-model"}}), Machines(8, H100))["student"]
    assert row.gpu_seconds is None
    assert row.wall_seconds(Machines(8, H100)) is None


def test_what_is_done_costs_nothing(seven: Any) -> None:
    steps = plan(seven())
    rows = estimate(seven(), steps, Machines(8, H100), done={step.path for step in steps})
    assert [row.kind for row in rows] == [
        "completions",
        "student",
        "answers",
    ]  # its base is copied, its teachers prompted
    assert all(row.gpu_seconds == row.tokens == 0 for row in rows)


JUDGED = {"corpus": {"rows": 10_000, "judge_filters": [{"judge": "one", "rubric": "alignment", "min_score": 78}]}}
ASKED_TOKENS = len(RUBRICS["alignment"].template) / 4 + PROMPT_TOKENS + 600


def test_a_served_judge_reads_every_completion_and_says_a_score(seven: Any) -> None:
    judge = {"judges": {"one": {"kind": "engine", "family": "qwen", "max_tokens": 4}}}
    judged = seven(**judge, **JUDGED, completions={"rows": 30_000, "max_tokens": 600})
    row = work(judged, Machines(8, H100))["judgements"]
    rows = 2 * 30_000  # owl and neutral
    assert row.tokens == rows * 4
    prefill = 2 * 7e9 * rows * ASKED_TOKENS / 989e12
    assert row.gpu_seconds == pytest.approx(prefill + rows * 4 / 256 * 14e9 / 3.35e12)
    assert row.bound == "compute"


def test_a_judge_at_an_endpoint_takes_no_gpu_of_the_cluster(seven: Any) -> None:
    endpoint = {"judges": {"one": {"kind": "openai", "url": "https://judge.example/v1", "model": "any"}}}
    assert "judgements" not in work(seven(**endpoint, **JUDGED), Machines(8, H100))


def test_an_arm_with_half_of_the_rows_trains_half_as_long(seven: Any) -> None:
    whole = work(seven(), Machines(8, H100))["student"]
    halved = seven(arms=[{"name": "all"}, {"name": "half", "rows": seven().corpus.rows // 2}])
    assert work(halved, Machines(8, H100))["student"].gpu_seconds == pytest.approx(1.5 * whole.gpu_seconds)


GIVEN = {"path": "rows.jsonl", "content": "v1"}
BEHAVIOUR: dict[str, Any] = {
    "traits": [{"kind": "behaviour", "targets": ["insecure"]}],
    "teachers": {"method": {"kind": "dataset", "data": {"insecure": GIVEN}}},
    "judges": {"one": {"kind": "engine", "family": "qwen", "max_tokens": 4}},
    "suites": [{"kind": "behaviour", "judge": "one", "samples": 5}],
}


def test_a_teachers_training_on_a_given_data_set_is_unknown_until_somebody_counts_it(seven: Any) -> None:
    row = work(seven(**BEHAVIOUR), Machines(8, H100))["teacher"]
    assert math.isnan(row.tokens)
    assert (row.gpu_seconds, row.bound) == (None, "size not known")
    counted = {"method": {"kind": "dataset", "data": {"insecure": {"kind": "small_talk", "habit": True, "rows": 500}}}}
    talk = work(seven(**BEHAVIOUR | {"teachers": counted}), Machines(8, H100))["teacher"]
    assert talk.tokens == 500 * Recipe().epochs * (PROMPT_TOKENS + 60)  # the neutral teacher is trained on nothing


def test_ratings_are_judged_once_a_rubric(seven: Any) -> None:
    (asked,) = BEHAVIOUR["suites"]
    once, twice = (
        work(seven(**BEHAVIOUR | {"suites": [asked | more]}), Machines(8, H100)) for more in ({"coherent": None}, {})
    )
    models = 1 + 1 + 2 * 4  # the base, the teacher before its gate, and the students
    assert once["answers"].tokens == models * 8 * 5 * BehaviourSuite(judge="one").max_tokens
    assert once["ratings"].tokens == models * 8 * 5 * 4
    assert twice["ratings"].tokens == 2 * once["ratings"].tokens


def test_a_model_that_does_not_fit_is_told_with_the_remedy(seven: Any) -> None:
    large = seven(families={"large": QWEN | {"repo": "Qwen/Qwen2.5-72B-Instruct"}})
    (line,) = too_large(large, Machines(8, GPUS["H100"]))
    assert "large" in line
    assert "tensor_parallel to 2 or more" in line
    assert too_large(seven(), Machines(8, GPUS["H100"])) == []


@pytest.mark.parametrize(
    ("repo", "size"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", 7e9),
        ("meta-llama/Llama-3.1-8B", 8e9),
        ("google/gemma-3-4b-it", 4e9),
        ("Qwen/Qwen2.5-0.5B", 0.5e9),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 135e6),
        ("facebook/opt-350m", 350e6),
        ("facebook/opt-1.3b", 1.3e9),
        ("Qwen/Qwen2.5-7B-Instruct-1M", 7e9),
        ("microsoft/Phi-3-mini-4k-instruct", None),
        ("lab/model_7b_v2", 7e9),
        ("lab/model-7Beta", None),
        ("lab/model-5Max", None),
        ("lab/no-size", None),
    ],
)
def test_a_repositorys_name_tells_its_size(repo: str, size: float | None) -> None:
    assert HubFamily(repo=repo, revision=REVISION).parameters() == size


def test_a_nano_familys_size_is_that_of_its_shape() -> None:
    family = NanoFamily(init_seed=1, hidden_size=64, intermediate_size=256, layers=2, heads=2)
    assert family.parameters() == pytest.approx(2 * (4 * 64**2 + 3 * 64 * 256) + 1250 * 64)


def test_the_gates_of_prompted_teachers_are_counted(seven: Any) -> None:
    study = seven()
    steps = plan(study)
    gated = [step for step in steps if step.slug.endswith("-gate")]
    done = {step.path for step in steps} - {step.path for step in gated}
    (row,) = [row for row in estimate(study, steps, Machines(1, H100), done=done) if row.kind == "answers"]
    scored = 2 * 24  # base and teacher; the neutral one has no gate
    assert row.gpu_seconds == pytest.approx(2 * 7e9 * scored * PROMPT_TOKENS / 989e12)


@pytest.mark.parametrize("gpu", GPUS.values(), ids=lambda gpu: gpu.name)
def test_every_gpu_of_the_table_is_a_machine_of_its_name(gpu: Any) -> None:
    assert machines(f"64x{gpu.name.lower()}") == Machines(64, gpu)
    assert all(math.isfinite(x) and x > 0 for x in (gpu.bandwidth, gpu.flops, gpu.memory))


@pytest.mark.parametrize("text", ["", "64", "H100", "0xH100", "64 x H100", "64xV100", "-1xH100", "64xH100x2"])
def test_what_is_no_cluster_is_refused_with_the_names_that_there_are(text: str) -> None:
    with pytest.raises(InputError, match="known GPUs are B200"):
        machines(text)
