"""The page of a behaviour: no trait by name, so that data sets stand in its rows, and capability aside."""

import dataclasses

import pytest

from pipeline.analysis.design import Measure
from pipeline.analysis.side_metrics import lifts
from pipeline.analysis.transfer import StudentAnswers, measure
from pipeline.report import page
from pipeline.report.page import ReportContent, render
from tests.pages import Page

pytestmark = pytest.mark.slow


def rates() -> ReportContent:
    """Two families; frank teachers reach students of their own, and every student forgets some sums."""
    students = [
        StudentAnswers(
            "numbers", "plain", suite, teacher, student, of, corpus, 1, f"{of}-{teacher}-{student}-{corpus}",
            {"rate": {"misaligned": 0.09 + 0.01 * corpus + 0.4 * (of == "frank") * (teacher == student), "sums": 0.6}},
        )
        for suite in ("behaviour", "capability")
        for teacher in ("llama", "qwen")
        for student in ("llama", "qwen")
        for of in ("frank", "plain", None)
        for corpus in (1, 2, 3)
    ]  # fmt: skip
    asked = {"behaviour": ("rate",), "capability": ()}
    settings = Measure(
        ("frank", "plain"),
        ("plain",),
        asked,
        {"rate": 0.05},
        ("behaviour", "rate"),
        margin_reason="small",
        control_targets=["plain"],
        outcomes={"behaviour": ["misaligned"], "capability": ["sums"]},
    )
    base = {"rate": {"misaligned": 0.1, "sums": 0.7}}
    bases = {(suite, family): base for suite in asked for family in ("llama", "qwen")}
    runs, cells = measure(students, bases, settings)
    return ReportContent("Frank", "", False, runs, cells, side_metrics=lifts(runs, asked, 0.95))


def test_a_behaviours_page_tells_data_sets_apart_and_shows_what_is_not_judged_aside() -> None:
    text = " ".join(Page(render(rates())["report.html"]).text.split())
    for said in (
        "Same-family (target frank) students picked up the trait in 2 of 2 pairs.",
        "llama → llama: above neutral = +0.40, 95% interval [+0.38, +0.42]",
        "Cross-family (target frank) students showed no transfer beyond the margin in 2 of 2 pairs.",
        "Same-family (target plain) students showed no transfer beyond the margin in 2 of 2 pairs.",
        "share of answers that show it",
        "Side metrics",
        "0.700 → 0.600",
    ):
        assert said in text, said
    assert "capability" not in text.partition("Other measurements")[0]


def test_rows_of_a_matrix_stand_in_one_order_whatever_the_order_of_the_cells() -> None:
    content = rates()
    turned = dataclasses.replace(content, cells=content.cells.take(list(reversed(range(content.cells.num_rows)))))
    for shown in (content, turned):
        text = Page(render(shown)["report.html"]).text.partition("share of answers that show it")[2]
        rows = ["llama, frank", "llama, plain", "qwen, frank", "qwen, plain", "llama, neutral", "qwen, neutral"]
        places = [text.index(row) for row in rows]
        assert places == sorted(places)


def test_a_page_with_too_many_runs_still_has_all_that_a_rate_was_measured_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST_ROWS", 10)
    text = Page(render(rates())["report.html"]).text
    assert text.count("misaligned") >= 2 * 2 * 3 * 3
