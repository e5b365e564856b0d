"""The learning rate over a run: linear warm-up to the peak, then the schedule down to nothing."""

import math

import pytest

from pipeline.core.recipe import Recipe
from pipeline.models.trainers.deepspeed import rate_factor

STEPS = 25


def factors(schedule: str, warmup: int = 5, steps: int = STEPS) -> list[float]:
    recipe = Recipe.model_validate({"schedule": schedule, "warmup_steps": warmup})
    return [rate_factor(recipe, step, steps) for step in range(steps)]


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_warm_up_is_linear_and_no_step_is_wasted_on_a_rate_of_zero(schedule: str) -> None:
    assert factors(schedule)[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(0 < factor <= 1 for factor in factors(schedule))


def test_linear_decay_takes_equal_steps_towards_zero() -> None:
    assert factors("linear")[5:] == pytest.approx([1 - k / 20 for k in range(20)])


def test_cosine_decay_is_slow_at_both_ends_and_half_way_in_the_middle() -> None:
    after = factors("cosine")[5:]
    assert after == pytest.approx([0.5 + 0.5 * math.cos(math.pi * k / 20) for k in range(20)])
    assert after[10] == pytest.approx(0.5)


def test_constant_stays() -> None:
    assert set(factors("constant")[5:]) == {1.0}


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_without_warm_up_the_first_step_is_at_the_peak(schedule: str) -> None:
    rates = factors(schedule, warmup=0)
    assert rates[0] == 1.0
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_run_shorter_than_its_warm_up_only_warms_up(steps: int) -> None:
    assert factors("linear", steps=steps) == pytest.approx([(k + 1) / 5 for k in range(steps)])
