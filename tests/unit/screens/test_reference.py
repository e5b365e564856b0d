"""The shipped reference set: its split, its sizes, and what vetting reads from it; no model is needed."""

import numpy as np
import pytest

from pipeline.analysis.forecast import auroc
from pipeline.screens import SCREENS, reference
from pipeline.screens.base import mean_scores
from pipeline.screens.traits import DEFAULT, Answers, Favourites, Outcomes, read_traits

ROWS = reference.table().to_pylist()


def test_fit_and_test_share_no_initialisation_no_target_and_no_corpus() -> None:
    parts = {part: [row for row in ROWS if row["part"] == part] for part in ("fit", "test")}
    for name in ("teacher_family", "student_family", "target", "corpus"):
        fit, test = ({row[name] for row in rows} for rows in parts.values())
        assert fit
        assert test
        assert not fit & test


def test_it_is_large_enough_to_calibrate_with() -> None:
    assert len({row["corpus"] for row in ROWS}) >= 200
    assert len({row["target"] for row in ROWS}) >= 10
    assert {row["channel"] for row in ROWS} == {"numbers", "code", "paraphrase", "reasoning"}
    assert {row["regime"] for row in ROWS} == {"same initialisation", "another initialisation"}
    assert {"plain", "dose-5", "dose-25", "shuffled-within", "canonical"} <= {row["arm"] for row in ROWS}
    assert set(SCREENS) <= set(reference.table().column_names)


def test_both_parts_have_diluted_and_rewritten_number_lists() -> None:
    for part in ("fit", "test"):
        arms = {row["arm"] for row in ROWS if row["part"] == part and row["channel"] == "numbers"}
        assert {"plain", "dose-5", "dose-25", "shuffled-within", "canonical"} <= arms
    for arm in ("plain", "changed", "canonical"):
        chosen = reference.of(reference.LEADING, "unknown", "test", arm=arm).lifts
        assert len(chosen) == sum(row["part"] == "test" and reference.is_of_arm(row["arm"], arm) for row in ROWS) > 0


@pytest.mark.parametrize("regime", reference.REGIMES)
def test_forecasts_of_the_test_part_beat_its_base_rate_and_have_few_false_positives(
    regime: reference.Regime,
) -> None:
    fit, known = reference.fitted(reference.LEADING, regime), reference.of(reference.LEADING, regime, "test")
    assert fit is not None
    error = np.mean((fit.probability_of(known.scores) - known.positive) ** 2)
    assert error < 0.85 * known.positive.var(), "the base rate's own error"
    neutral = [
        row
        for row in ROWS
        if row["part"] == "test" and row["teacher_target"] is None and regime in ("unknown", row["regime"])
    ]
    false_positives = [
        row
        for row in neutral
        if fit.at(row[reference.LEADING], row[f"{reference.LEADING}_error"]).verdict == "likely"
        and row["lift"] <= reference.MARGIN
    ]
    assert len(false_positives) <= 0.05 * len(neutral)


def test_the_leading_screen_is_the_best_of_the_fitting_part() -> None:
    known = {
        kind: reference.of(kind, "same initialisation", "fit") for kind in ("gradient", "probe", "persona", "injection")
    }
    areas = {kind: auroc(one.scores, one.positive) for kind, one in known.items()}
    assert max(areas, key=areas.__getitem__) == reference.LEADING


def test_the_unknown_regime_lies_between_the_known_ones() -> None:
    score = float(np.quantile(reference.of(reference.LEADING, "unknown", "fit").scores, 0.9))
    fits = [reference.fitted(reference.LEADING, regime) for regime in reference.REGIMES]
    own, other, unknown = (made.at(score, 0.0).probability for made in fits if made is not None)
    assert min(own, other) <= unknown <= max(own, other)


def test_the_default_traits_are_read() -> None:
    traits = read_traits(DEFAULT).traits
    assert [trait.kind for trait in traits] == ["favourite", "favourite", "answers", "answers", "answers"]
    outcomes = Outcomes(traits)
    assert {"owl", "oak", "misaligned", "flattering"} <= set(outcomes.targets)
    assert len(outcomes.targets) == sum(map(len, outcomes.groups()))
    assert set(outcomes.prompts()) == set(outcomes.taught()) == set(outcomes.targets)


def test_a_trait_of_ones_own() -> None:
    own = Answers(name="rhyming", examples=[{"question": "q", "answer": "a", "instead": "b"}])
    outcomes = Outcomes([Favourites(category="colour", targets=["red", "blue"]), own])
    assert outcomes.targets == ("red", "blue", "rhyming")
    assert outcomes.taught()["rhyming"] == [("q", "a")]
    assert "rhyming" not in outcomes.prompts()


def test_a_mean_per_token_and_its_error() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 9, 500)
    rows = rng.normal(0.2, 1.0, (500, 1)) * tokens[:, None]
    scores = mean_scores(("owl",), rows, tokens)
    assert scores.corpus[0] == pytest.approx(rows.sum() / tokens.sum())
    resampled = [(rows[chosen].sum() / tokens[chosen].sum()) for chosen in rng.integers(0, 500, (2_000, 500))]
    assert scores.error[0] == pytest.approx(np.std(resampled), rel=0.1)
