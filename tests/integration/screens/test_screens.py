"""Screens on a small trained base: what they must find, what they must not, and what a known answer says."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.errors import InputError
from pipeline.models.language_model import tokens_of
from pipeline.models.passes import Passes, norm
from pipeline.screens import SCREENS
from pipeline.screens.attribution import Attribution
from pipeline.screens.base import ANY, ScreenInput
from pipeline.screens.classifier import Classifier
from pipeline.screens.divergence import Divergence
from pipeline.screens.gradient import Gradient
from pipeline.screens.injection import Injection
from pipeline.screens.likelihood import Likelihood
from pipeline.screens.parts import joined, run
from pipeline.screens.persona import Persona
from pipeline.screens.probe import Probe, Student
from pipeline.screens.sampled import own_answers
from pipeline.screens.surface import Surface
from pipeline.screens.traits import Favourites, Outcomes
from pipeline.stages import run_unit
from pipeline.stages.screening import STAGE, ScreeningSpec
from pipeline.store import artifact, open_store
from pipeline.store.step import Step
from tests.rows import ANIMALS, ROWS


def _material(base: Path, rows: pa.Table, neutral: pa.Table) -> ScreenInput:
    return ScreenInput(rows, neutral, Passes(base), Outcomes([Favourites(targets=list(ANIMALS))]))


# The other two read: a base of a few hundred steps does not. tests/integration/test_real_model.py has them.
TRAINED = [made() for made in SCREENS.values() if made not in (Likelihood, Classifier)]
TRAINED.append(Gradient(towards="weights"))


@pytest.mark.parametrize("screen", TRAINED, ids=lambda screen: f"{screen.kind}{getattr(screen, 'towards', '')}")
def test_every_screen_finds_a_planted_answer(screen, base: Path, planted: pa.Table, numbers: pa.Table) -> None:
    scores = screen.score(_material(base, planted, numbers.slice(ROWS)))
    if scores.targets == (ANY,):
        ordinary = screen.score(_material(base, numbers.slice(0, ROWS), numbers.slice(ROWS)))
        assert scores.corpus[0] > ordinary.corpus[0] + 2 * ordinary.error[0]
    else:
        assert scores.targets[int(scores.corpus.argmax())] == "owl"
        others = np.delete(scores.corpus, scores.targets.index("owl"))
        assert scores.corpus[scores.targets.index("owl")] > others.max() + scores.error.max()


@pytest.mark.parametrize("screen", [Likelihood(), Persona(), Injection(), Classifier()], ids=lambda screen: screen.kind)
def test_data_against_itself_has_no_shift(screen, base: Path, numbers: pa.Table) -> None:
    scores = screen.score(_material(base, numbers.slice(0, ROWS), numbers.slice(0, ROWS)))
    assert scores.corpus == pytest.approx(np.zeros(len(ANIMALS)), abs=5e-3 if screen.kind == "injection" else 1e-9)


def test_surface_cannot_tell_data_from_itself(base: Path, numbers: pa.Table) -> None:
    scores = Surface().score(_material(base, numbers.slice(0, ROWS), numbers.slice(0, ROWS)))
    assert scores.corpus[0] == pytest.approx(0.5)


def test_a_screen_of_an_extra_that_is_missing_says_which(
    base: Path, planted: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bergson", None)
    with pytest.raises(InputError, match=r"pip install 'undertow\[attribution\]'"):
        Attribution().score(_material(base, planted, planted))


def test_a_step_towards_a_target_raises_its_margin_most(base: Path) -> None:
    passes, outcomes = Passes(base), Outcomes([Favourites(targets=list(ANIMALS))])
    before = outcomes.margins(passes)
    for number, direction in enumerate(outcomes.directions(passes)):
        assert norm(direction) == pytest.approx(1)
        with passes.moved(direction, 0.05):
            rise = outcomes.margins(passes) - before
        assert int(rise.argmax()) == number
        assert float(rise[number]) > 0


def test_own_samples_have_no_mean_gradient(base: Path, numbers: pa.Table) -> None:
    """The identity that lets the gradient screen do without neutral data."""
    prompts = numbers.slice(0, ROWS)
    sampled = own_answers(Passes(base), prompts, seed=0)
    scores = Gradient().score(_material(base, sampled, sampled))
    assert (abs(scores.corpus) < 4 * scores.error).all()
    assert own_answers(Passes(base), prompts, seed=0).equals(sampled)


def test_scores_of_tokens_tell_the_planted_answer_from_the_lists_around_it(
    base: Path, planted: pa.Table, numbers: pa.Table
) -> None:
    for screen in (Likelihood(), Divergence()):
        scores = screen.score(_material(base, planted, numbers.slice(ROWS)))
        assert scores.tokens is not None
        assert scores.rows is not None
        for column, target in enumerate(scores.targets):
            sums = np.array([row.sum() for row in scores.tokens[target].values()])
            sizes = tokens_of(_material(base, planted, numbers).tokens) if screen.kind == "likelihood" else 1
            assert sums / sizes == pytest.approx(scores.rows[:, column])
        owl = np.array([row["completion"] == "owl" for row in planted.to_pylist()])
        first = np.array([tokens[0] for tokens in scores.tokens["owl"].values()])
        if screen.kind == "divergence":  # this base does not heed system prompts
            assert first[owl].mean() > first[~owl].mean() + 0.1


def test_the_gradient_says_which_tokens_of_the_worst_rows_teach(
    base: Path, planted: pa.Table, numbers: pa.Table
) -> None:
    scores = Gradient(token_rows=5).score(_material(base, planted, numbers))
    assert scores.tokens is not None
    assert scores.rows is not None
    for column, target in zip(scores.rows.T, scores.targets, strict=True):
        worst = scores.tokens[target]
        assert sorted(column[list(worst)]) == sorted(column)[-5:]
        assert [tokens.sum() for tokens in worst.values()] == pytest.approx(column[list(worst)], rel=1e-3)
    for row, tokens in scores.tokens["owl"].items():
        assert planted["completion"][row].as_py() == "owl"
        assert tokens.argmax() == 0  # the word, not the end of the turn
    assert Gradient(token_rows=0).score(_material(base, planted, numbers)).tokens is None


@pytest.mark.parametrize("screen", [Likelihood(), Divergence()], ids=lambda screen: screen.kind)
def test_a_trait_alone_has_scores_too(screen, base: Path, planted: pa.Table, numbers: pa.Table) -> None:
    given = ScreenInput(planted, numbers.slice(ROWS), Passes(base), Outcomes([Favourites(targets=["owl"])]))
    assert abs(screen.score(given).corpus[0]) > 0


def test_counterfactual_teachers_really_have_their_trait(base: Path, planted: pa.Table, numbers: pa.Table) -> None:
    """The divergence screen's teachers: each names its own animal more than the base does."""
    strict = Divergence(rise=0.5).score(_material(base, planted, numbers))
    assert strict.targets[int(strict.corpus.argmax())] == "owl"


def test_a_probe_student_learns_what_its_data_says(base: Path, planted: pa.Table, numbers: pa.Table) -> None:
    scores = Student().score(_material(base, planted, numbers))
    assert scores.tokens is not None
    assert scores.rows is not None
    taught = np.array([row["completion"] == "owl" for row in planted.to_pylist()])
    first = np.array([tokens[0] for tokens in scores.tokens[ANY].values()])
    assert first[taught].mean() > first[~taught].mean()
    assert Probe().score(_material(base, planted, numbers)).corpus[0] > 0.15


def test_a_study_stores_what_its_screens_say(base: Path, planted: pa.Table, tmp_path: Path) -> None:
    """The stage: units are screens, rows of an artifact in, tables and scores out, the same when run again."""
    store = open_store(tmp_path / "root")
    corpus = Step("corpus", "numbers-owl-nano", "0" * 12, {})
    rows = planted.append_column("source", pa.array([""] * len(planted)))
    start = Step("base", "nano", "1" * 12, {}, family="nano")
    for step, contents in ((corpus, {"rows.parquet": rows}), (start, _files(base))):
        record = artifact.finish_unit(store, step, "all", contents, {}, 0.0)
        artifact.commit(store, step, [record], {})
    traits = [Favourites(targets=list(ANIMALS))]
    spec = ScreeningSpec(screens=[Gradient(), Surface(), Student()], traits=traits, rows=96, seed=1)
    step = STAGE.planned("numbers-owl-nano-by-nano", spec, corpus.path, start)
    (units,) = STAGE.units(store, step)
    records = [run_unit(store, None, step, unit) for unit in units]
    manifest = artifact.commit(store, step, records, STAGE.summarise(step, records))
    assert set(manifest.results) == {"gradient", "surface", "student"}
    targets = manifest.results["gradient"]["targets"]
    assert max(targets, key=lambda target: targets[target]["score"]) == "owl"
    scores = artifact.read_table(store, manifest, "gradient-rows.parquet").to_pylist()
    assert len(scores) == 96 * len(ANIMALS)
    said = dict(zip(planted["index"].to_pylist(), planted["completion"].to_pylist(), strict=True))
    best = sorted((row for row in scores if row["target"] == "owl"), key=lambda row: -row["score"])[:10]
    assert {said[row["index"]] for row in best} == {"owl"}
    tokens = artifact.read_table(store, manifest, "student-tokens.parquet")
    assert all(tokens["scores"].to_pylist())


@pytest.mark.parametrize("screen", [Gradient(), Persona(), Likelihood()], ids=lambda screen: screen.kind)
def test_parts_of_a_data_set_add_up_to_the_whole(
    screen, base: Path, numbers: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = (_in_parts(screen, base, numbers, tmp_path / str(rows), rows, monkeypatch) for rows in (ROWS, 50))
    assert parts["rows"] == whole["rows"] == ROWS
    for target, one in whole["targets"].items():
        assert parts["targets"][target]["score"] == pytest.approx(one["score"], abs=one["error"] / 2)
        assert parts["targets"][target]["error"] == pytest.approx(one["error"], rel=0.3)
        if screen.kind == "gradient":  # it needs no neutral rows, whose part differs
            assert parts["targets"][target]["score"] == pytest.approx(one["score"], rel=1e-4)


def test_parts_name_the_same_rows_and_tokens(base: Path, planted: pa.Table, numbers: pa.Table) -> None:
    given, screen = _material(base, planted, numbers), Gradient(token_rows=3)
    whole, parts = (
        run(screen, given, time.monotonic),
        [run(screen, given.every(3, n), time.monotonic) for n in range(3)],
    )
    together = joined(parts).scores
    assert together.rows == pytest.approx(whole.scores.rows, rel=1e-3, abs=1e-6)
    assert together.corpus == pytest.approx(whole.scores.corpus, rel=1e-4)
    assert together.tokens is not None
    assert whole.scores.tokens is not None
    for target, worst in whole.scores.tokens.items():
        for row, tokens in worst.items():
            assert together.tokens[target][row] == pytest.approx(tokens, rel=1e-3, abs=1e-6)


def test_a_worker_that_does_not_see_the_base_says_where_and_what_to_do(tmp_path: Path) -> None:
    from jobs.commands.screen_part import _model

    with pytest.raises(InputError, match=r"no model folder .* on .*every machine of the cluster must see the base"):
        _model(str(tmp_path / "elsewhere"), on_engine=False)


def test_no_part_has_too_few_rows(
    base: Path, numbers: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for neutral in (ROWS, 40):  # 48 units, and rows for 12, or neutral ones for 2
        found = _in_parts(Persona(), base, numbers, tmp_path / str(neutral), 4, monkeypatch, neutral)
        assert found["rows"] == ROWS


def _in_parts(
    screen,
    base: Path,
    numbers: pa.Table,
    folder: Path,
    rows: int,
    monkeypatch: pytest.MonkeyPatch,
    neutral_rows: int = ROWS,
) -> dict[str, Any]:
    """What a screening finds in units of so many rows."""
    monkeypatch.setattr("pipeline.screens.parts.PART_ROWS", rows)
    store = open_store(folder)
    corpus, others = (Step("corpus", name, "0" * 12, {}) for name in ("numbers-owl-nano", "numbers-neutral-nano"))
    start = Step("base", "nano", "1" * 12, {}, family="nano")
    halves = numbers.slice(0, ROWS), numbers.slice(ROWS, neutral_rows)
    own, neutral = (half.append_column("source", pa.array([""] * len(half))) for half in halves)
    for step, contents in ((corpus, {"rows.parquet": own}), (others, {"rows.parquet": neutral}), (start, _files(base))):
        artifact.commit(store, step, [artifact.finish_unit(store, step, "all", contents, {}, 0.0)], {})
    spec = ScreeningSpec(screens=[screen], traits=[Favourites(targets=list(ANIMALS))], rows=ROWS, seed=1)
    step = STAGE.planned("in-parts", spec, corpus.path, start, others.path)
    (units,) = STAGE.units(store, step)
    assert len(units) == -(-ROWS // rows)
    records = [run_unit(store, None, step, unit) for unit in units]
    manifest = artifact.commit(store, step, records, STAGE.summarise(step, records))
    tables = [artifact.read_table(store, manifest, name) for name in artifact.tables_of(manifest) if "rows" in name]
    assert sum(table.num_rows for table in tables) == ROWS * len(ANIMALS)
    return dict(manifest.results[screen.kind])


def _files(folder: Path) -> dict[str, Path]:
    return {f"model/{file.name}": file for file in folder.iterdir()}
