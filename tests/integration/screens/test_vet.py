"""`undertow vet` on a small trained base: what it says of data, and what it refuses."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.commands.vet import VetRequest, content_of, screens_of
from pipeline.core.chat_template import messages
from pipeline.core.errors import StepError
from pipeline.models.passes import Passes
from pipeline.screens.sampled import own_answers
from pipeline.screens.traits import Favourites, Outcomes
from tests.hub_server import served
from tests.rows import ANIMALS, ROWS

Command = Callable[..., subprocess.CompletedProcess[str]]


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


def test_vet_finds_on_an_engine_what_it_finds_in_torch(
    base: Path, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The engine has a process of its own, and prints nothing."""
    screens = screens_of(["likelihood", "classifier"])
    wanted = VetRequest(str(data), str(base), "owl,cat", None, screens, [], rows=64, seed=0)
    found = []
    for engine in ("torch", "vllm"):
        vetted = content_of(replace(wanted, engine=engine)).vetted
        assert not vetted.failed
        found.append({(one.target, score.screen): score.score for one in vetted.findings for score in one.scores})
    assert len(found[0]) == 4
    assert found[1] == pytest.approx(found[0], abs=1e-4)
    assert capfd.readouterr() == ("", "")


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
