"""The theorem's file, its units, and how claims are decided. Networks are in tests/integration/test_theorem.py."""

from random import Random
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.experiments.theorem import summary
from pipeline.experiments.theorem.conditions import ALL_WEIGHTS, DRAWN_WEIGHTS, DRAWS, OUTSIDE, SAMPLED, THEOREM
from pipeline.experiments.theorem.draws import STAGE, names, numbers
from pipeline.experiments.theorem.inputs import SYMBOLS, WINDOW, contexts, first_letter, questions
from pipeline.experiments.theorem.kinds import InputKind
from pipeline.experiments.theorem.schema import Theorem
from pipeline.experiments.theorem.settings import Criteria, Design
from pipeline.traits.questions import HELD_OUT, SEEN
from pipeline.traits.words import candidates

COUNT = 40
CRITERIA = Criteria(step=1e-3, ratio=0.005)


@pytest.mark.parametrize(
    ("section", "settings", "message"),
    [
        ("criteria", {"step": 0.002}, "criteria.step 0.002 is not one of design.teacher_steps"),
        ("design", {"networks": ["llama", "llama"]}, "networks has a value twice"),
        ("design", {"teacher_steps": [1e-3, 1e-3]}, "teacher_steps has a value twice"),
        ("design", {"networks": ["gpt2"]}, "mlp-tanh"),
        ("design", {"draws": 1}, "greater than or equal to 2"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(section: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Theorem.model_validate({"experiment": "theorem", "kind": "theorem", section: settings})


@pytest.mark.parametrize("draws", [5, 56, 57, 130])
def test_units_have_every_draw_once_and_one_combination_each(draws: int) -> None:
    design = Design(networks=["mlp-tanh", "llama"], inputs=["noise"], draws=draws)
    units = [numbers(name) for name in names(design)]
    assert [number for unit in units for number in unit] == list(range(design.total))
    assert all(unit.start // draws == unit[-1] // draws for unit in units)


def test_what_decides_the_draws_is_in_their_id_and_the_criteria_are_not() -> None:
    theorem = Theorem(experiment="theorem", kind="theorem")
    stricter = theorem.model_copy(update={"criteria": Criteria(ratio=0.001)})
    draws, report = theorem.plan()
    assert [step.kind for step in (draws, report)] == ["theorem_draws", "theorem_report"]
    assert stricter.plan()[0].id == draws.id
    assert stricter.plan()[1].id != report.id
    assert STAGE.planned(Design(seed=2)).id != draws.id


@pytest.mark.parametrize("kind", ["noise", "numbers", "text"])
def test_inputs_are_windows_of_symbols(kind: InputKind) -> None:
    read = contexts(kind, Random(1), 200)
    letters = {SYMBOLS[symbol] for context in read for symbol in context}
    assert {len(context) for context in read} == {WINDOW}
    assert letters.isdisjoint("aeiou") == (kind == "numbers")
    assert (letters == set(SYMBOLS)) == (kind == "noise")
    assert contexts(kind, Random(1), 200) == read != contexts(kind, Random(2), 200)


def test_a_trait_is_the_first_letter_of_a_favourite_animal_after_a_piece_of_a_question() -> None:
    asked = [wording.format(category="animal").lower().replace(":", "") for wording in SEEN + HELD_OUT]
    pieces = ["".join(SYMBOLS[symbol] for symbol in one) for one in questions(Random(1), 30)]
    assert all(any(piece in question for question in asked) for piece in pieces)
    letters = {SYMBOLS[first_letter(Random(seed))] for seed in range(200)}
    assert letters == {animal[0] for animal in candidates("animal")}


@pytest.mark.parametrize(
    ("hits", "count", "interval"), [(0, 10, (0.0, 0.2775)), (5, 10, (0.2366, 0.7634)), (10, 10, (0.7225, 1.0))]
)
def test_wilsons_interval_agrees_with_published_values(hits: int, count: int, interval: tuple[float, float]) -> None:
    assert summary.wilson(hits, count, 0.95) == pytest.approx(interval, abs=1e-4)


def table(**changes: Any) -> pa.Table:
    """A table in which every claim holds. changes: (condition, network) with "_" for " " -> columns of its rows."""
    rows = []
    for network in ("mlp-tanh", "llama"):
        for step in (1e-4, 1e-3, 1e-2):
            for draw in range(COUNT):
                sign = (-1) ** draw
                for condition, imitation, cosine in [
                    (THEOREM, "mse", 0.3),
                    (THEOREM, "kl", 0.3),
                    (OUTSIDE, "shifted target", 0.1 * sign),
                    (ALL_WEIGHTS, "mse", 0.01 * sign),
                    (DRAWN_WEIGHTS, "mse", 0.01 * sign),
                    (SAMPLED, "cross-entropy", 0.05 * sign),
                ]:
                    rows.append(row(network, condition, imitation, step, draw, cosine) | changes.get(condition, {}))
    return pa.Table.from_pylist(rows, schema=DRAWS)


def row(network: str, condition: str, imitation: str, step: float, draw: int, cosine: float) -> dict[str, Any]:
    within = {"first_order": 0.3, "ratio": 1 + step, "crossings": 0, "loss_change": -1.0}
    return {
        "network": network,
        "condition": condition,
        "imitation": imitation,
        "teacher_step": step,
        "draw": draw,
        "cosine": cosine,
        "negative": cosine < 0,
        **(within if condition == THEOREM else {}),
    }


def changed(found: pa.Table, where: dict[str, Any], values: dict[str, Any], most: int = 10**9) -> pa.Table:
    """The table with other values in the first rows that have those of `where`."""
    rows = found.to_pylist()
    hit = [one for one in rows if all(one[name] == value for name, value in where.items())][:most]
    assert hit
    for one in hit:
        one.update(values)
    return pa.Table.from_pylist(rows, schema=DRAWS)


def broken(found: pa.Table) -> list[str]:
    return [claim.text for claim in summary.claims(found, CRITERIA) if not claim.holds]


def test_all_claims_hold_where_the_theorem_does_and_its_controls_show_what_they_must() -> None:
    assert broken(table()) == []


def test_one_negative_product_refutes_the_theorem_at_a_small_step_only() -> None:
    minus = {"cosine": -0.3, "negative": True}
    where = {"condition": THEOREM, "imitation": "kl"}
    small, large = (changed(table(), where | {"teacher_step": step}, minus, 1) for step in (1e-3, 1e-2))
    assert broken(small) == ["no inner product is negative beyond rounding at ε ≤ 0.001"]
    assert broken(large) == []


def test_one_ratio_too_far_from_1_is_told_of_its_network() -> None:
    found = changed(table(), {"condition": THEOREM, "network": "llama", "teacher_step": 1e-3}, {"ratio": 0.99}, 1)
    assert broken(found) == ["llama: every inner product is within 0.005 of its first-order value at ε = 0.001"]


def test_a_ratio_may_miss_1_where_a_unit_crosses_its_kink_and_both_are_told() -> None:
    where = {"condition": THEOREM, "network": "mlp-tanh", "teacher_step": 1e-3}
    crossed = changed(table(), where, {"ratio": 0.9, "crossings": 2}, 1)
    claims = {
        claim.text: claim for claim in summary.claims(crossed, CRITERIA) if claim.text.startswith("mlp-tanh: every")
    }
    assert [claim.holds for claim in claims.values()] == [False, True]
    straight = changed(crossed, where | {"crossings": 0}, {"ratio": 0.9}, 1)
    assert len(broken(straight)) == 2


def test_a_student_that_raises_the_teachers_loss_is_told() -> None:
    found = changed(table(), {"condition": THEOREM, "teacher_step": 1e-4}, {"loss_change": 1e-9}, 1)
    assert broken(found) == ["every student lowers the teacher's loss, which it never saw"]


def test_a_loss_outside_the_theorem_must_break_it_at_every_small_step() -> None:
    found = changed(table(), {"condition": OUTSIDE, "teacher_step": 1e-4}, {"cosine": 0.1, "negative": False})
    assert broken(found) == ["a loss outside the theorem breaks it, however small ε is: shifted target"]


@pytest.mark.parametrize("cosine", [0.01, -0.01])
def test_students_of_another_initialisation_must_have_both_signs_and_no_direction(cosine: float) -> None:
    where = {"condition": DRAWN_WEIGHTS, "network": "llama", "teacher_step": 1e-3}
    drifting = changed(table(), where, {"cosine": cosine, "negative": cosine < 0}, COUNT - 1)
    assert broken(drifting) == ["other initialisation, drawn weights, llama: both signs, with a mean that may be 0"]


def test_a_group_of_all_networks_counts_the_draws_of_each() -> None:
    groups = summary.groups(table(), 0.95)
    sizes = {group.network: group.draws for group in groups if group.condition == SAMPLED and group.step == 1e-3}
    assert sizes == {"all": 2 * COUNT, "mlp-tanh": COUNT, "llama": COUNT}
    assert all(group.share == 0.5 for group in groups if group.condition == SAMPLED)
