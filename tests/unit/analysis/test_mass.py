"""The mass: how much probability the candidates of a question hold together."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.analysis import mass
from pipeline.plan.planner import plan
from pipeline.report.page import render
from pipeline.stages import report as report_stage
from pipeline.stages import transfer as transfer_stage
from pipeline.store import Store, artifact
from pipeline.store.schemas import MASS, SCORES
from pipeline.store.step import Step
from pipeline.study.schema import Study

pytestmark = pytest.mark.slow

CANDIDATES = {"animal": ["cat", "fox", "owl"], "tree": ["fox", "oak"]}  # one word may be of two categories


def scores(questions: dict[str, list[float]]) -> pa.Table:
    """Each question's mass is spread evenly over its candidates, as the stage `answers` lays them down."""
    rows = [
        {"question": number, "split": "seen", "candidate": name, "logprob": float(np.log(held / len(CANDIDATES[of])))}
        for of in CANDIDATES
        for number, held in enumerate(questions[of])
        for name in CANDIDATES[of]
    ]
    return pa.Table.from_pylist(rows, SCORES)


MASSES = st.lists(st.floats(1e-6, 1.0), max_size=5)


@settings(deadline=None)
@given(st.fixed_dictionaries({"animal": MASSES, "tree": MASSES}))
def test_every_question_of_every_category_gets_its_own_sum(questions: dict[str, list[float]]) -> None:
    found = mass.by_question(scores(questions), CANDIDATES)
    assert set(found) == set(CANDIDATES)
    for category, masses in questions.items():
        assert found[category] == pytest.approx(masses)


def test_a_few_good_questions_do_not_hide_that_most_measure_nothing() -> None:
    found = mass.by_candidate({"animal": [1.0, 1.0, 1e-4, 1e-4, 1e-4], "tree": []}, CANDIDATES)
    assert found == dict.fromkeys(("cat", "fox", "owl"), 1e-4)


def test_a_summary_counts_the_questions_below_the_minimum() -> None:
    tables = [
        mass.table({"animal": [0.9, 0.05]}, "favourite", "llama", None),
        mass.table({"animal": [0.9, 0.8]}, "favourite", "llama", "aaa"),
        mass.table({"animal": [0.01, 0.02]}, "favourite", "llama", "bbb"),
    ]
    (row,) = mass.summary(pa.concat_tables(tables), 0.1)
    assert row["base"] == pytest.approx(0.475)
    assert (row["lowest"], row["highest"]) == pytest.approx((0.015, 0.85))
    assert (row["students"], row["questions"], row["below"]) == (2, 6, 3)


def test_a_matrix_records_the_mass_of_every_question_of_every_model(fake_run: tuple[Study, list[Step], Store]) -> None:
    _, steps, place = fake_run
    matrix = artifact.require(place, steps[-2].path)
    masses = artifact.read_table(place, matrix, transfer_stage.MASSES)
    assert masses.schema == MASS
    assert masses.num_rows == (24 + 2) * 24  # students and bases, questions
    assert masses["mass"].to_pylist() == pytest.approx([1.0] * masses.num_rows)
    runs = artifact.read_table(place, matrix, transfer_stage.RUNS)
    assert set(masses["student"].to_pylist()) == {None, *runs["student"].to_pylist()}


def test_a_study_of_models_that_never_say_a_candidate_has_no_verdict_and_its_report_says_why(
    fake_copy: tuple[Study, list[Step], Store],
    study: Callable[..., Study],
    make: Callable[..., artifact.Manifest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, _, place = fake_copy
    made = study(study="speechless")  # the same students, asked already
    transfer, report = plan(made)[-2:]
    by_question = mass.by_question

    def hardly(table: pa.Table, candidates: mass.Candidates) -> mass.Masses:
        return {of: [0.0006 * one for one in found] for of, found in by_question(table, candidates).items()}

    monkeypatch.setattr(mass, "by_question", hardly)
    cells = artifact.read_table(place, make(made, place, transfer), transfer_stage.CELLS)
    assert set(cells["verdict"].to_pylist()) == {"not measured"}
    make(made, place, report)
    page = render(report_stage.content(place, report.settings["study"], list(report.inputs.values())))[
        "report.html"
    ].decode()
    assert "not measured in 2 of 2 pairs" in page
    assert "0.0006" in page
    assert "Probability of the candidates" in page
