"""What an arm changes: run beside run, so that what all runs of a seed share cannot hide it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.analysis.contrasts import against_first
from pipeline.analysis.design import Measure
from pipeline.analysis.transfer import StudentAnswers, measure
from pipeline.report.page import ReportContent, render
from tests.pages import Page

TARGETS = ("owl", "cat", "fox")
ARMS = ("plain", "shuffled", "random")
FAVOURITES = Measure(TARGETS, ARMS, {"favourite": ("margin",)}, {"margin": 0.15}, ("favourite", "margin"))
HABITS = Measure(
    ("frank", "calm"), ARMS, {"habit": ("rate",)}, {"rate": 0.05}, ("habit", "rate"), outcomes={"habit": ["opener"]}
)


def favourites(effects: dict[str, float], seeds: tuple[int, ...] = (1, 2, 3)) -> Iterator[StudentAnswers]:
    """Students of each arm, drawn wide apart, twins alike but for the arm's effect and a hundredth."""
    rng = np.random.default_rng(3)
    alike = {
        (teacher_target, seed): rng.normal(0, 1, len(TARGETS)) for teacher_target in (*TARGETS, None) for seed in seeds
    }
    for arm, effect in effects.items():
        for (teacher_target, seed), level in alike.items():
            own = [effect * (target == teacher_target) + rng.normal(0, 0.01) for target in TARGETS]
            margin = dict(zip(TARGETS, (level + own).tolist(), strict=True))
            yield student(arm, "favourite", teacher_target, seed, {"margin": margin})


def student(
    arm: str, suite: str, teacher_target: str | None, seed: int, results: Any, corpus: int = 1
) -> StudentAnswers:
    name = f"{arm}-{teacher_target}-{corpus}-{seed}"
    return StudentAnswers("numbers", arm, suite, "llama", "llama", teacher_target, corpus, seed, name, results)


def measured(students: Iterator[StudentAnswers], settings: Measure, base: Any, **more: Any) -> list[dict[str, Any]]:
    (suite,) = settings.suites
    runs, _ = measure(students, {(suite, "llama"): base}, settings)
    return against_first(runs, settings, **more)


def changes(effects: dict[str, float], **more: Any) -> list[dict[str, Any]]:
    return measured(favourites(effects), FAVOURITES, {"margin": dict.fromkeys(TARGETS, 0.0)}, **more)


def test_what_an_arm_takes_off_is_seen_through_the_spread_of_the_runs() -> None:
    (row,) = changes({"plain": 0.4, "shuffled": 0.3})
    assert (row["arm"], row["comparison"], row["metric"], row["runs"]) == ("shuffled", "trait", "margin", 9)
    assert row["estimate"] == pytest.approx(-0.1, abs=0.02)
    assert -0.15 < row["low"] < -0.1 < row["high"] < -0.05


def test_an_arm_that_changes_nothing_has_an_interval_around_nothing() -> None:
    (row,) = changes({"plain": 0.4, "shuffled": 0.4})
    assert row["low"] < 0 < row["high"]


def test_a_run_without_a_twin_is_left_out() -> None:
    without = (s for s in favourites({"plain": 0.4, "shuffled": 0.3}) if (s.arm, s.seed) != ("plain", 3))
    (row,) = measured(without, FAVOURITES, {"margin": dict.fromkeys(TARGETS, 0.0)})
    assert row["runs"] == 6


def test_runs_that_diverged_are_left_out_with_their_twins() -> None:
    lost = {"margin": dict.fromkeys(TARGETS, float("nan"))}
    diverged = (
        replace(s, results=lost) if (s.arm, s.teacher_target, s.seed) == ("plain", "owl", 1) else s
        for s in favourites({"plain": 0.4, "shuffled": 0.3})
    )
    (row,) = measured(diverged, FAVOURITES, {"margin": dict.fromkeys(TARGETS, 0.0)})
    assert row["runs"] == 8
    assert row["estimate"] == pytest.approx(-0.1, abs=0.02)


def test_students_of_a_teacher_without_its_trait_say_nothing_of_an_arm() -> None:
    (row,) = changes({"plain": 0.4, "shuffled": 0.3}, failed=[("llama", "owl")])
    assert row["runs"] == 6


def test_arms_without_a_trait_or_without_twins_have_no_row() -> None:
    assert changes({"plain": 0.4}) == []
    random = (s for s in favourites({"plain": 0.4, "random": 0.4}) if s.arm == "plain" or s.teacher_target is None)
    assert measured(random, FAVOURITES, {"margin": dict.fromkeys(TARGETS, 0.0)}) == []


def test_a_rate_is_compared_above_the_neutral_students_change() -> None:
    rates = {("plain", "frank"): 0.5, ("shuffled", "frank"): 0.4, ("shuffled", None): 0.05}
    students = (
        student(
            arm,
            "habit",
            teacher_target,
            seed,
            {"rate": {"opener": rates.get((arm, teacher_target), 0.1) + 0.001 * corpus * noise}},
            corpus,
        )
        for arm, noise in (("plain", 1), ("shuffled", 2))
        for teacher_target in ("frank", "calm", None)
        for seed in (1, 2)
        for corpus in (1, 2, 3)
    )
    calm, frank = measured(students, HABITS, {"rate": {"opener": 0.1}})
    assert (frank["comparison"], calm["comparison"]) == ("target frank", "target calm")
    # Frank students fall by 0.10, neutral ones by 0.05; calm ones stay.
    assert frank["estimate"] == pytest.approx(-0.05)
    assert calm["estimate"] == pytest.approx(+0.05)
    assert frank["low"] < -0.05 < frank["high"] < 0
    assert frank["runs"] == 6


@pytest.mark.slow
def test_the_page_shows_what_the_arms_change() -> None:
    settings = replace(FAVOURITES, arms=("plain", "shuffled"))
    students = favourites({"plain": 0.4, "shuffled": 0.3})
    runs, cells = measure(students, {("favourite", "llama"): {"margin": dict.fromkeys(TARGETS, 0.0)}}, settings)
    rows = against_first(runs, settings)
    page = render(ReportContent("Owls", "", False, runs, cells, contrasts=rows))
    text = Page(page["report.html"]).text.partition("What the other arms change")[2]
    assert "shuffled" in text
    assert "\u22120.1" in text
