"""The roofline: seconds by hand from the data sheets' figures, and what it says where it cannot know."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.families.hub import HubFamily
from pipeline.families.nano import NanoFamily
from pipeline.plan import plan
from pipeline.roofline import GPUS, PROMPT_TOKENS, Machines, Work, estimate, machines, parameters, too_large
from pipeline.step import Step
from pipeline.study import Study

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
    done: list[Step] = []
    assert all(row.gpu_seconds == 0 for row in estimate(seven(), done, Machines(8, H100)))


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
        ("lab/model-7Beta", None),
        ("lab/no-size", None),
    ],
)
def test_a_repositorys_name_tells_its_size(repo: str, size: float | None) -> None:
    assert parameters(HubFamily(repo=repo, revision=REVISION)) == size


def test_a_nano_familys_size_is_that_of_its_shape() -> None:
    family = NanoFamily(init_seed=1, hidden_size=64, intermediate_size=256, layers=2, heads=2)
    assert parameters(family) == pytest.approx(2 * (4 * 64**2 + 3 * 64 * 256) + 1250 * 64)


@pytest.mark.parametrize("gpu", GPUS.values(), ids=lambda gpu: gpu.name)
def test_every_gpu_of_the_table_is_a_machine_of_its_name(gpu: Any) -> None:
    assert machines(f"64x{gpu.name.lower()}") == Machines(64, gpu)
    assert all(math.isfinite(x) and x > 0 for x in (gpu.bandwidth, gpu.flops, gpu.memory))


@pytest.mark.parametrize("text", ["", "64", "H100", "0xH100", "64 x H100", "64xV100", "-1xH100", "64xH100x2"])
def test_what_is_no_cluster_is_refused_with_the_names_that_there_are(text: str) -> None:
    with pytest.raises(InputError, match="known GPUs are B200"):
        machines(text)
