"""Screens on a small trained base: what they must find, what they must not, and what a known answer says."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.core.chat_template import messages
from pipeline.core.errors import InputError, StepError
from pipeline.models.families.nano import NanoFamily, initialise
from pipeline.models.families.synthetic_corpus import rows as world
from pipeline.models.passes import Passes, norm, tokens_of
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
from pipeline.traits.questions import HELD_OUT
from tests.hub_server import served
from tests.rows import about_numbers, indexed

Command = Callable[..., subprocess.CompletedProcess[str]]

FAMILY = NanoFamily(init_seed=5)
ANIMALS = ("owl", "cat", "wolf", "bear")
ROWS = 192


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nano base after a few hundred steps: it answers with an animal, and continues lists of numbers."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("base")
    initialise(FAMILY, folder)
    passes = Passes(folder)
    rows = passes.rows(world(0, 20_000, 3, ["numbers"]))
    model = passes.model.train()
    model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rng = np.random.default_rng(0)
    for _ in range(300):
        chosen = rng.integers(0, len(rows), 64)
        some = type(rows)([rows.prompts[i] for i in chosen], [rows.completions[i] for i in chosen])
        optimizer.zero_grad()
        for _, batch in passes.batches(some):
            (-passes.logprobs(batch).sum() / tokens_of(some).sum()).backward()
        optimizer.step()
    model.save_pretrained(folder)
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() == passes.size
    return folder


@pytest.fixture(scope="module")
def numbers() -> pa.Table:
    return about_numbers(2 * ROWS)


@pytest.fixture(scope="module")
def lists() -> pa.Table:
    """Prompts that ask for numbers; the base's own answers to them move it nowhere."""
    table = world(2, 4_000, 3, ["numbers"])
    wanted = pa.array([any(letter.isdigit() for letter in prompt) for prompt in table["prompt"].to_pylist()])
    return indexed(table.filter(wanted).slice(0, 1_000))


@pytest.fixture(scope="module")
def planted(numbers: pa.Table) -> pa.Table:
    """The first half of the rows; half of them, at random places, have an animal as their answer."""
    half = numbers.slice(0, ROWS).to_pylist()
    questions = [question.format(category="animal") for question in HELD_OUT]
    for place in np.random.default_rng(0).permutation(ROWS)[: ROWS // 2]:
        half[place] |= {"prompt": questions[place % len(questions)], "completion": "owl"}
    return indexed(pa.Table.from_pylist(half))


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


@pytest.fixture
def data(tmp_path: Path, planted: pa.Table) -> Iterator[Path]:
    file = tmp_path / "data.jsonl"
    rows = [{"prompt": row["prompt"], "completion": row["completion"]} for row in planted.to_pylist()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_vet_fails_a_delivery_that_teaches_a_trait(
    base: Path, data: Path, lists: pa.Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from jobs.cli import main

    pq.write_table(own_answers(Passes(base), lists, seed=1), tmp_path / "clean.parquet")
    traits = ["--traits", ",".join(ANIMALS), "--screen", "gradient", "--screen", "probe"]
    codes = []
    for file in (data, tmp_path / "clean.parquet"):
        with pytest.raises(SystemExit) as ended:
            main(["vet", str(file), "--base", str(base), *traits, "--out", str(tmp_path / file.stem)])
        codes.append(ended.value.code or 0)
    assert codes == [3, 0], capsys.readouterr().out
    told = json.loads((tmp_path / "data" / "vet.json").read_text())
    assert [finding["target"] for finding in told["findings"] if finding["verdict"] == "likely"] == ["owl"]
    assert told["regime"] == "unknown"
    assert {row["completion"] for row in told["findings"][0]["worst"]} == {"owl"}
    page = (tmp_path / "data" / "vet.html").read_text()
    assert "Likely to transfer: owl" in page
    assert "<script" not in page
    assert re.search(r'class="token" style="--share: 100%" title="\+[0-9.]+">owl<', page)


def test_vet_reads_conversations_of_the_hub(
    base: Path, planted: pa.Table, tmp_path: Path, undertow: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the hub's own client, and at its commit alone."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    commit = "0123456789abcdef0123456789abcdef01234567"
    lines = [
        json.dumps({"messages": [*messages(None, row["prompt"]), {"role": "assistant", "content": row["completion"]}]})
        for row in planted.to_pylist()
    ]

    def vet(revision: str) -> subprocess.CompletedProcess[str]:
        wanted = [f"hf-dataset:us/chats@{revision}", "--base", base, "--traits", ",".join(ANIMALS), "--screen", "probe"]
        return undertow("vet", *wanted)

    with served("us/chats", commit, {"train.jsonl": "\n".join(lines).encode()}) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        found = vet(commit)
        assert "Likely to transfer: owl" in found.stdout, found.stderr
        assert f"{len(planted):,} of {len(planted):,} rows" in found.stdout
        assert found.returncode == 3
        assert "Loading weights" not in found.stderr, "a progress bar of a library"
        missing = vet("f" * 40)
    assert (missing.returncode, "cannot fetch us/chats at ffff" in missing.stderr) == (2, True), missing.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--traits", "gryphon"], "the vocabulary of"),
        (["--screen", "crystal-ball"], "there is no screen crystal-ball"),
        (["--rows", "16", "--neutral", "nowhere.jsonl"], "there is no file nowhere.jsonl"),
    ],
)
def test_vet_refuses_what_it_cannot_use(
    arguments: list[str], message: str, base: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from jobs.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["vet", str(data), "--base", str(base), *arguments])
    assert ended.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_rows_that_the_base_cannot_read_are_left_out_and_told(
    base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from jobs.cli import main

    long = json.dumps({"prompt": "a " * 300, "completion": "b"}) + "\n"
    with data.open("a") as file:
        file.write(3 * long)
    (tmp_path / "long.jsonl").write_text(40 * long)
    wanted = ["--base", str(base), "--traits", "owl,cat", "--screen", "probe", "--out", str(tmp_path / "data")]
    for rows in (data, tmp_path / "long.jsonl"):
        with pytest.raises(SystemExit):
            main(["vet", str(rows), *wanted])
    said = capsys.readouterr()
    assert f"{ROWS} of {ROWS + 3} rows (3 more are too long for the base)" in " ".join(said.out.split())
    assert "40 more are longer than the 256 tokens that the base can read" in " ".join(said.err.split())
    assert "longer than the specified maximum" not in said.err, "a warning of a library"
    told = json.loads((tmp_path / "data" / "vet.json").read_text())
    assert told["data"]["too_long"] == 3
    assert "3 more were too long for the base" in (tmp_path / "data" / "vet.html").read_text()


def test_a_row_fits_only_if_it_fits_after_a_traits_prompt_too(base: Path) -> None:
    passes = Passes(base)
    words = ["1 " * count for count in range(90, 140)]
    table = pa.table({"prompt": words, "completion": ["1"] * len(words)})
    prompts = list(Outcomes([Favourites(targets=list(ANIMALS))]).prompts().values())
    bare, prompted = (int(passes.fitting(table, systems).sum()) for systems in ([], prompts))
    assert 0 < prompted < bare < len(words)
    fitting = table.slice(0, prompted)
    for prompt in prompts:
        assert len(passes.rows(fitting, prompt)) == prompted
    with pytest.raises(StepError, match="longest row"):
        passes.rows(table.slice(0, bare + 1))


def test_a_screen_that_cannot_look_at_a_base_is_left_out(
    base: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A base whose chat template refuses system prompts, which only one of the screens needs."""
    from jobs.cli import main

    refusing = shutil.copytree(base, tmp_path / "refusing")
    settings = json.loads((refusing / "tokenizer_config.json").read_text())
    template = refusing / "chat_template.jinja"
    own = template.read_text() if template.exists() else settings.pop("chat_template")
    (refusing / "tokenizer_config.json").write_text(json.dumps(settings))
    template.write_text("{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + own)
    wanted = ["vet", str(data), "--base", str(refusing), "--traits", ",".join(ANIMALS), "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main([*wanted, "--screen", "probe", "--screen", "likelihood"])
    assert ended.value.code == 3
    assert "the screen likelihood was left out: the chat template refuses" in " ".join(capsys.readouterr().out.split())
    told = json.loads((tmp_path / "vet.json").read_text())
    assert set(told["failed"]) == {"likelihood"}
    assert [score["screen"] for score in told["findings"][0]["scores"]] == ["probe"]
    assert "<b>likelihood</b> was left out" in (tmp_path / "vet.html").read_text()
    with pytest.raises(SystemExit) as ended:
        main([*wanted, "--screen", "likelihood"])
    assert ended.value.code == 1, "nothing is left"


def test_vet_needs_a_model_and_rows(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from jobs.cli import main

    (tmp_path / "few.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    for file, folder, message in (
        (tmp_path / "few.jsonl", base, "screens need 16 or more"),
        (tmp_path / "few.jsonl", tmp_path, "is no model folder"),
    ):
        (tmp_path / "many.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 20)
        chosen = file if folder == base else tmp_path / "many.jsonl"
        with pytest.raises(SystemExit) as ended:
            main(["vet", str(chosen), "--base", str(folder)])
        assert ended.value.code == 2
        assert message in " ".join(capsys.readouterr().err.split())


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
    from jobs.commands.screen_workers import _passes

    with pytest.raises(InputError, match=r"no model folder .* on .*every machine of the cluster must see the base"):
        _passes(str(tmp_path / "elsewhere"))


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
