"""The spread of teachers and runs in finished matrices, against runs of a known spread."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.analysis.power import OWN_FAMILY
from pipeline.analysis.spread import measured
from pipeline.store.schemas import RUNS

TARGETS = [f"animal-{n}" for n in range(8)]


def matrix(seeds: int, teacher: float, run: float, effect: float = 0.4, seed: int = 0, student: str = "a") -> pa.Table:
    """Runs of one cell, and of its neutral teacher, whose targets and runs also have levels of their own."""
    rng, rows = np.random.default_rng(seed), []
    level = rng.normal(0, 0.5, len(TARGETS))
    for target in [*TARGETS, None]:
        peculiar = rng.normal(0, teacher, len(TARGETS))
        for number in range(seeds):
            lifts = level + peculiar + rng.normal(0, run, len(TARGETS)) + rng.normal(0, 0.3)
            rows += [
                {
                    "channel": "numbers", "arm": "plain", "suite": "favourite", "teacher_family": "a",
                    "student_family": student, "teacher_target": target, "corpus": 1, "seed": number, "target": name,
                    "margin": lift + effect * (name == target), "base_margin": 0.0, "student": f"{target}-{number}",
                }
                for name, lift in zip(TARGETS, lifts.tolist(), strict=True)
            ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=RUNS)


def test_teachers_and_runs_are_told_apart_whatever_the_effect_and_the_levels() -> None:
    own, across = measured(matrix(3, teacher=0.2, run=0.1, seed=n) for n in range(20))
    assert across is None
    assert own is not None
    assert own.teacher == pytest.approx(0.2, rel=0.06)
    assert own.run == pytest.approx(0.1, rel=0.06)


def test_one_seed_a_teacher_leaves_the_spread_of_runs_as_assumed() -> None:
    own, _ = measured(matrix(1, teacher=0.2, run=OWN_FAMILY.run, seed=n) for n in range(20))
    assert own is not None
    assert own.run == OWN_FAMILY.run
    assert own.teacher == pytest.approx(0.2, rel=0.06)


def test_families_are_told_apart_and_teachers_without_a_spread_have_none() -> None:
    own, across = measured([matrix(2, 0.2, 0.1), matrix(4, 0.0, 0.1, student="b")])
    assert own is not None
    assert across is not None
    assert across.teacher < 0.05 < own.teacher


def test_nothing_measured_gives_nothing() -> None:
    assert measured([]) == (None, None)
    assert measured([RUNS.empty_table()]) == (None, None)
