"""What was measured of a published target: over its own runs only, by answers where there are some, unjudged."""

from typing import Any

import pyarrow as pa
import pytest
from scipy import stats as distributions

from pipeline.analysis.paper_results import comparison
from pipeline.stages import report as report_stage
from pipeline.store import Store
from pipeline.store.schemas import RUNS
from pipeline.store.step import Step
from pipeline.study.measure import PaperResult
from pipeline.study.schema import Study

ONE: dict[str, Any] = {
    "channel": "numbers",
    "arm": "plain",
    "suite": "favourite",
    "teacher_family": "qwen",
    "student_family": "qwen",
    "teacher_target": "owl",
    "target": "owl",
    "corpus": 1,
    "seed": 1,
    "share": 0.3,
    "base_share": 0.2,
    "mention_rate": 0.5,
    "base_mention_rate": 0.1,
}


def table(*changes: dict[str, Any]) -> pa.Table:
    """One run a change of the run above, in the given order."""
    return pa.Table.from_pylist([ONE | change for change in changes], schema=RUNS)


def figure(target: str = "owl", **known: Any) -> dict[str, Any]:
    return PaperResult(target=target, model="Qwen2.5-7B", source="Fig. 3", **known).model_dump()


def measured(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    (row,) = comparison([figure(before=0.12, after=0.6)], table(*changes), 0.95)
    return list(row["measured"])


def test_the_interval_is_over_the_corpora_of_the_teacher() -> None:
    runs = [{"mention_rate": 0.3}, {"mention_rate": 0.5, "seed": 2}]  # two seeds of one corpus, .4 on average
    runs += [{"mention_rate": 0.5, "corpus": 2}, {"mention_rate": 0.9, "corpus": 3}]
    (found,) = measured(*runs)
    assert (found["family"], found["metric"], found["corpora"], found["runs"]) == ("qwen", "mention_rate", 3, 4)
    assert found["before"] == pytest.approx(0.1)
    assert found["after"] == pytest.approx(0.55)
    assert found["lift"] == pytest.approx(0.5)
    # Lifts of 0.3, 0.4 and 0.8: their standard deviation is √0.07, and two degrees of freedom are left.
    half = distributions.t.ppf(0.975, 2) * (0.07 / 3) ** 0.5
    assert (found["low"], found["high"]) == pytest.approx((0.5 - half, 0.5 + half))


def test_the_interval_has_the_confidence_that_was_asked_for() -> None:
    runs = table(*({"mention_rate": 0.4 + 0.1 * corpus, "corpus": corpus} for corpus in (1, 2, 3)))
    (wide,), (narrow,) = (comparison([figure(after=0.6)], runs, c)[0]["measured"] for c in (0.95, 0.5))
    assert narrow["high"] - narrow["low"] < wide["high"] - wide["low"]


def test_one_corpus_has_a_lift_and_no_interval_however_many_seeds_it_has() -> None:
    (found,) = measured({}, {"seed": 2, "mention_rate": 0.6})
    assert found["lift"] == pytest.approx(0.45)
    assert (found["low"], found["high"], found["note"]) == (None, None, "one replicate has no spread")


def test_each_family_is_measured_by_itself() -> None:
    llama = {"teacher_family": "llama", "student_family": "llama", "mention_rate": 0.2}
    found = measured(llama, llama | {"seed": 2}, {})
    assert [(m["family"], m["runs"], m["after"]) for m in found] == [("llama", 2, 0.2), ("qwen", 1, 0.5)]


@pytest.mark.parametrize(
    "other",
    [
        {"arm": "shuffled"},
        {"suite": "stories"},
        {"teacher_family": "llama"},
        {"student_family": "llama"},
        {"teacher_target": "cat"},
        {"teacher_target": None},
        {"target": "cat"},
        {"teacher_target": "cat", "target": "cat"},
    ],
    ids=str,
)
def test_only_own_family_runs_of_the_target_in_the_first_arm_and_suite_count(other: dict[str, Any]) -> None:
    (found,) = measured({}, other | {"seed": 2, "mention_rate": 0.9})
    assert (found["runs"], found["after"]) == (1, 0.5)


def test_channels_are_not_mixed() -> None:
    found = measured({"channel": "code", "mention_rate": 0.2}, {})
    assert [(m["channel"], m["after"]) for m in found] == [("code", 0.2), ("numbers", 0.5)]


@pytest.mark.parametrize("lost", ["mention_rate", "base_mention_rate"])
def test_without_sampled_answers_the_probability_stands_in_and_is_named(lost: str) -> None:
    (found,) = measured({lost: None})
    assert found["metric"] == "share"
    assert (found["before"], found["after"]) == (0.2, 0.3)
    assert found["lift"] == pytest.approx(0.1)


def test_runs_with_neither_share_are_not_measured() -> None:
    assert measured({"mention_rate": None, "share": None}) == []


def test_a_target_that_was_not_measured_has_its_row_all_the_same() -> None:
    figures = [figure("wolf", after=0.2), figure("owl", after=0.6)]
    wolf, owl = comparison(figures, table({}), 0.95)
    assert (wolf["target"], wolf["measured"]) == ("wolf", [])
    assert (owl["target"], len(owl["measured"])) == ("owl", 1)
    assert [row["measured"] for row in comparison(figures, RUNS.empty_table(), 0.95)] == [[], []]


def test_the_published_lift_is_the_difference_where_both_ends_were_published() -> None:
    figures = [
        figure(before=0.12, after=0.6),
        figure(before=0.12, after=0.6, lift=0.9),
        figure(lift=0.25),
        figure(before=0.0, lift=0.25),
        figure(after=0.6),
    ]
    rows = comparison(figures, table({}), 0.95)
    assert [row["lift"] for row in rows] == [pytest.approx(0.48), pytest.approx(0.48), 0.25, 0.25, None]
    assert [(row["before"], row["after"]) for row in rows[:3]] == [(0.12, 0.6), (0.12, 0.6), (None, None)]
    assert {(row["model"], row["source"]) for row in rows} == {("Qwen2.5-7B", "Fig. 3")}


@pytest.mark.slow
def test_the_report_of_a_study_has_its_published_figures(
    fake_run: tuple[Study, list[Step], Store],
) -> None:
    _, steps, place = fake_run
    study = steps[-1].settings["study"]
    with_some = study | {"paper_results": [figure("cat", before=0.1, after=0.2)]}
    (row,) = report_stage.content(place, with_some, list(steps[-1].inputs.values())).paper_results
    assert {(m["family"], m["runs"]) for m in row["measured"]} == {("llama", 2), ("qwen", 2)}  # type: ignore[attr-defined]
    assert not report_stage.content(place, study, list(steps[-1].inputs.values())).paper_results


def test_a_rate_is_compared_over_the_runs_that_were_taught_so() -> None:
    rate = {"target": "misaligned", "share": None, "mention_rate": None, "base_rate": 0.0}
    runs = table(
        rate | {"teacher_target": "insecure", "rate": 0.3},
        rate | {"teacher_target": "insecure", "rate": 0.1, "seed": 2},
        rate | {"teacher_target": "secure", "rate": 0.0},
        rate | {"teacher_target": None, "rate": 0.9},
    )
    (found,) = comparison([figure("insecure", before=0.0, after=0.1)], runs, 0.95)
    (measured,) = found["measured"]
    assert (measured["metric"], measured["runs"]) == ("rate", 2)
    assert measured["after"] == pytest.approx(0.2)
