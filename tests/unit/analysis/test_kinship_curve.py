"""Transfer against kinship: which measure predicts the transfer of a family that was left out."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest

from pipeline.analysis.design import Measure
from pipeline.analysis.kinship_curve import MEAN, MIN_FAMILIES, SCALES, Curve, Pair, curve, left_out_errors, monotone
from pipeline.analysis.transfer import StudentAnswers, measure

TARGETS = ("owl", "cat", "fox", "dog", "bear")
SETTINGS = Measure(TARGETS, ("plain", "late"), {"favourite": ("margin",)}, {"margin": 0.1}, ("favourite", "margin"))
EFFECTS = {"self": 0.5, "order": 0.42, "rows": 0.31, "half": 0.2, "moved": 0.12, "stranger": 0.0}


def students(effects: Mapping[str, float], noise: float = 0.0) -> Iterator[StudentAnswers]:
    """One student per target, family and arm; of those in the second arm, all have an effect of 9."""
    rng = np.random.default_rng(0)
    for family, effect in effects.items():
        for arm in SETTINGS.arms:
            for target in (*TARGETS, None):
                size = effect if arm == "plain" else 9.0
                margin = {one: size * (one == target) + rng.normal(0, noise) for one in TARGETS}
                name = f"{family}-{arm}-{target}"
                results = {"margin": margin}
                yield StudentAnswers("numbers", arm, "favourite", "self", family, target, 1, 1, name, results)


def kinship(rank: Mapping[str, float], **others: Mapping[str, float | None]) -> dict[Pair, dict[str, float | None]]:
    """The final weights follow `rank`; every other measure is the same for all families, or as given."""
    found: dict[Pair, dict[str, float | None]] = {}
    for family, value in rank.items():
        of_family: dict[str, float | None] = dict.fromkeys([scale.name for scale in SCALES], 0.5)
        own = {"final_cosine": value} | {name: of[family] for name, of in others.items()}
        found[Pair("numbers", "self", family)] = of_family | own
    return found


def found(effects: Mapping[str, float], of: Mapping[Pair, Mapping[str, float | None]], **more: object) -> Curve:
    base = {"margin": dict.fromkeys(TARGETS, 0.0)}
    noise = float(str(more.pop("noise", 0.0)))
    bases = {("favourite", family): base for family in effects}
    runs, cells = measure(students(effects, noise), bases, SETTINGS)
    return curve(runs, cells, SETTINGS, of, **more)  # type: ignore[arg-type]


def test_the_curve_has_the_gamma_of_every_pair_in_the_first_arm_and_its_kinship() -> None:
    made = found(EFFECTS, kinship(EFFECTS))
    assert [point.pair.student for point in made.points] == list(EFFECTS)  # the most transfer first
    assert [point.value for point in made.points] == pytest.approx(list(EFFECTS.values()))
    assert [point.kinship["final_cosine"] for point in made.points] == list(EFFECTS.values())
    assert made.metric == "margin"


def test_the_measure_that_transfer_follows_predicts_a_family_that_it_has_not_seen() -> None:
    made = found(EFFECTS, kinship(EFFECTS), noise=0.01)
    best, *others = made.predictions
    assert best.name == "final_cosine"
    assert {one.name for one in others} == {MEAN, *(scale.name for scale in SCALES)} - {"final_cosine"}
    assert best.error < 0.08 < 0.15 < min(one.error for one in others)
    assert all(one.is_worse for one in others if one.name == MEAN)
    assert (best.best_of, made.deletions) == (len(TARGETS), len(TARGETS))


def test_where_transfer_runs_against_a_measure_the_mean_of_the_others_is_as_good_as_any() -> None:
    against = {name: 1 - effect for name, effect in EFFECTS.items()}
    made = found(EFFECTS, kinship(against))
    (mean,) = (one.error for one in made.predictions if one.name == MEAN)
    assert [one.error for one in made.predictions] == pytest.approx([mean] * len(made.predictions))
    assert not any(one.is_worse for one in made.predictions)


def test_errors_of_the_mean_are_those_of_the_other_families() -> None:
    made = found(EFFECTS, kinship(EFFECTS))
    values = np.array([point.value for point in made.points])
    errors = left_out_errors(made.points, values)[MEAN]
    assert errors[0] == pytest.approx(0.5 - np.mean(list(EFFECTS.values())[1:]))


def test_the_points_of_a_student_family_are_left_out_together() -> None:
    points = found(EFFECTS, kinship(EFFECTS)).points
    twice = [*points, *(replace(point, pair=point.pair._replace(teacher="another")) for point in points)]
    values = np.array([point.value for point in points])
    once, both = left_out_errors(points, values), left_out_errors(twice, np.tile(values, 2))
    for name, errors in once.items():
        assert np.tile(errors, 2) == pytest.approx(both[name])


def test_a_measure_that_a_pair_lacks_is_not_compared_and_few_families_are_no_test() -> None:
    lacking = {"initial_cosine": dict.fromkeys(EFFECTS, None)}
    made = found(EFFECTS, kinship(EFFECTS, **lacking))
    assert "initial_cosine" not in {one.name for one in made.predictions}
    few = dict(list(EFFECTS.items())[: MIN_FAMILIES - 1])
    made = found(few, kinship(few))
    assert len(made.points) == MIN_FAMILIES - 1
    assert not made.predictions


def test_a_pair_without_kinship_is_no_point() -> None:
    known = dict(list(EFFECTS.items())[:-1])
    assert [point.pair.student for point in found(EFFECTS, kinship(known)).points] == list(known)


def test_teachers_without_their_trait_are_in_no_repetition() -> None:
    made = found(EFFECTS, kinship(EFFECTS), failed=[("self", "owl")])
    assert made.deletions == len(TARGETS) - 1


@pytest.mark.parametrize("rises", [True, False])
def test_a_monotone_curve_pools_what_runs_against_it_and_is_flat_beyond_its_ends(rises: bool) -> None:
    x, y = np.array([0.0, 1.0, 2.0, 2.0, 3.0]), np.array([0.0, 3.0, 1.0, 3.0, 4.0])
    at = np.array([-5.0, 0.5, 1.0, 2.5, 9.0])
    sign = 1 if rises else -1
    # 1 and the two at 2 become their mean, 7/3.
    wanted = sign * np.array([0.0, 7 / 6, 7 / 3, (7 / 3 + 4) / 2, 4.0])
    assert monotone(x, sign * y, at, rises=rises) == pytest.approx(wanted)
