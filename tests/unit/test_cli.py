"""The command: what it prints, and how it takes bad input: exit code 2, one message, nothing written."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.store import Store
from pipeline.store.step import Step
from pipeline.study.schema import Study
from tests.unit.conftest import Said

FakeRun = tuple[Study, list[Step], Store]
TEXT = """\
study: small
families:
  llama: {kind: nano, init_seed: 1}
traits:
  - {targets: [owl]}
"""

ALWAYS = [
    "base",
    "teacher",
    "gate",
    "completions",
    "corpus",
    "student",
    "answers",
    "transfer",
    "report",
]  # of every study


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("text", "overrides", "said"),
    [
        (TEXT + "colour: red\n", [], "study.yaml:6: colour: unknown setting"),
        (TEXT + "corpus: {rows: many}\n", [], "study.yaml:6: corpus.rows: Input should be a valid integer"),
        (TEXT.replace("kind: nano", "kind: gpt"), [], "study.yaml:3: families.llama.kind: "),
        (TEXT + "students: {families: [gpt]}\n", [], "students.families names gpt, which is no family here (llama)"),
        (TEXT.replace("{targets", "{kind: hatred, targets"), [], "study.yaml:5: traits.0.kind: "),
        (TEXT + "channels: [{kind: poems}]\n", [], "study.yaml:6: channels.0.kind: "),
        (TEXT.replace("[owl]", "[]"), [], "study.yaml:5: traits.0.targets: "),
        (TEXT + "channels: []\n", [], "study.yaml:6: channels: "),
        (TEXT.replace("[owl]", "[a/b]"), [], "study.yaml:5: traits.0.targets.0: "),
        (TEXT.replace("[owl]", "[..]"), [], "study.yaml:5: traits.0.targets.0: "),
        (TEXT.replace("[owl]", "['a#b']"), [], "study.yaml:5: traits.0.targets.0: "),
        (TEXT.replace("[owl]", "[zoë]"), [], "study.yaml:5: traits.0.targets.0: "),
        (TEXT.replace("[owl]", "[unicorn]"), [], "knows no animal named unicorn; it knows bear"),
        (TEXT + "seed: !!python/object/apply:os.system [ls]\n", [], "study.yaml:6: the tag tag:yaml.org,2002:python"),
        (TEXT + "seed: !env SEED\n", [], "study.yaml:6: the tag !env is not allowed"),
        (TEXT + "study: twice\n", [], "study.yaml:6: the key study stands twice"),
        (TEXT + "\tseed: 1\n", [], "study.yaml:6: not YAML"),
        ("", [], "study.yaml: the study file is empty"),
        (None, [], "cannot read the study file study.yaml"),
        (TEXT, ["students.epochs"], "--set students.epochs: write it as name.of.setting=value"),
        (TEXT, ["students.epoch=1"], "students.epoch: unknown setting"),
        (TEXT, ["students.epochs=soon"], "students.epochs: Input should be a valid integer"),
        (TEXT, ["traits.3.targets=[owl]"], "--set traits.3.targets=[owl]: 3 is no index of a list of 1"),
        (TEXT, ["study.name=x"], "--set study.name=x: study is a plain value"),
        (TEXT, ["seed=[1"], "--set seed=[1: "),
    ],
)
def test_a_bad_study_is_refused_in_one_message_and_nothing_is_written(
    undertow: Callable[..., Said], tmp_path: Path, command: str, text: str | None, overrides: list[str], said: str
) -> None:
    if text is not None:
        (tmp_path / "study.yaml").write_text(text)
    before = sorted(tmp_path.rglob("*"))
    told = undertow(command, "study.yaml", *(part for override in overrides for part in ("--set", override)))
    assert told.code == 2
    assert said in told.err
    assert "Traceback" not in told.err
    assert told.out == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "study.yaml", "--root", "study.yaml"], "cannot write to the root"),
        (["run", "study.yaml", "--root", "study.yaml/below"], "choose another --root"),
        (["run", "study.yaml", "--root", "/proc/undertow"], "cannot write to the root /proc/undertow"),
        (["run", "study.yaml", "--root", "gs://bucket"], "neither a folder nor s3://"),
        (["plan", "study.yaml", "--root", "s3://"], "names no bucket"),
        (["status", "nowhere"], "there is no folder nowhere"),
        (["show", "nowhere"], "nowhere is no finished artifact"),
        (["show", "."], "is no finished artifact"),
        (["report", "nowhere"], "nowhere is no finished artifact"),
        (["check", "poems", "study.yaml"], "unknown channel poems; choose one of numbers"),
        (["check", "numbers", "none.jsonl"], "there is no file none.jsonl"),
        (["check", "numbers", "study.yaml"], "study.yaml:1: not a line of JSON"),
        (
            ["run", "study.yaml", "--until", "corpora"],
            "--until corpora: unknown kind of step; choose one of dataset",
        ),
        (["submit", "study.yaml", "--until", "lunch"], "choose one of dataset, base, teacher, gate, completions"),
        (["plan"], "Missing argument"),
        (["plan", "study.yaml", "--colour"], "No such option"),
        (["check", "numbers", "study.yaml", "--set", "foo=1"], "foo: unknown setting"),
        (["dance"], "No such command"),
        (["show", "x", "--rows", "-1"], "--rows"),
        (["agreement", "study.yaml", "j", "alignment", "f", "--threshold", "nan"], "--threshold"),
        (["agreement", "study.yaml", "j", "alignment", "f", "--threshold", "-inf"], "--threshold"),
        (["submit", "study.yaml", "--driver-cpus", "nan"], "--driver-cpus"),
        (["submit", "study.yaml", "--driver-cpus", "inf"], "--driver-cpus"),
        (["plan", "study.yaml", "--cluster", "nanxH100"], "--cluster nanxH100"),
        (["status", "[/b]"], "there is no folder [/b]"),
        (["plan", "[/b].yaml"], "cannot read the study file [/b].yaml"),
        (["check", "[/b]", "study.yaml"], "unknown channel [/b]"),
        (["show", "a\x1b[2Jb"], r"a\x1b[2Jb is no finished artifact"),
        (["status", "a\udce9"], r"there is no folder a\udce9"),
    ],
)
def test_other_bad_input_likewise(
    undertow: Callable[..., Said], tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "study.yaml").write_text(TEXT)
    told = undertow(*arguments)
    assert told.code == 2
    assert said in re.sub(r"\x1b\[[0-9;]*m", "", told.err)
    assert "Traceback" not in told.err
    assert [path.name for path in tmp_path.rglob("*")] == ["study.yaml"]


GIVEN = TEXT + "teachers: {method: {kind: dataset, data: {owl: {path: rows, content: v1}}}}\n"
SCHEMA = pa.schema([("prompt", pa.string()), ("completion", pa.string())])


@pytest.mark.parametrize("command", ["plan", "run", "submit"])
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (SCHEMA.empty_table(), "rows holds no rows"),
        ("", "rows holds no rows"),
        ("\n", "rows holds no rows"),
        (
            pa.Table.from_pylist([{"prompt": "a", "completion": "b"}, {"completion": "b"}], SCHEMA),
            "row 2 has no prompt",
        ),
        ('{"prompt": null, "completion": "b"}', "rows:1: prompt is NoneType"),
        ('{"prompt": "a", "prompt": "b", "completion": "b"}', "rows:1: not a line of JSON: prompt stands twice"),
        (pa.table([["a"], ["b"], ["c"]], names=["prompt", "completion", "completion"]), "2 columns named completion"),
        (pa.table({"prompt": ["a"]}), "rows has no column completion"),
    ],
)
def test_given_rows_that_nobody_can_be_taught_are_refused_before_anything_is_made(
    undertow: Callable[..., Said], tmp_path: Path, command: str, rows: pa.Table | str, said: str
) -> None:
    (tmp_path / "study.yaml").write_text(GIVEN)
    if isinstance(rows, str):
        (tmp_path / "rows").write_text(rows)
    else:
        pq.write_table(rows, tmp_path / "rows")
    told = undertow(command, "study.yaml")
    assert told.code == 2
    assert said in told.err
    assert "Traceback" not in told.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows", "study.yaml"]


def test_given_rows_that_are_not_here_can_be_planned_with_and_not_run(
    undertow: Callable[..., Said], tmp_path: Path
) -> None:
    (tmp_path / "study.yaml").write_text(GIVEN)
    assert undertow("plan", "study.yaml").code == 0
    told = undertow("run", "study.yaml")
    assert (told.code, f"there is no file {tmp_path}/rows" in told.err) == (2, True)


def test_plan_counts_the_steps_and_writes_nothing(undertow: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TEXT)
    told = undertow("plan", "study.yaml", "--set", "students.seeds=[1, 2, 3]")
    assert told.code == 0
    left = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in told.out.splitlines() if "│" in line}
    assert [left[kind] for kind in ALWAYS] == [str(count) for count in (1, 2, 1, 2, 2, 6, 7 + 2, 1, 1)]
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


UNPINNED = """\
study: unpinned
families:
  qwen: {kind: hub, repo: Qwen/Qwen2.5-7B-Instruct, revision: "0000000000000000000000000000000000000000"}
  llama: {kind: hub, repo: meta-llama/Llama-3.1-8B, revision: "0000000000000000000000000000000000000000"}
traits:
  - {targets: [owl, cat, fox]}
"""


def test_plan_names_every_commit_that_is_still_to_be_chosen(undertow: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(UNPINNED)
    told = undertow("plan", "study.yaml")
    assert told.code == 0
    assert "unpinned: " in told.out
    for name in ("qwen", "llama"):
        setting = f"families.{name}.revision"
        assert f"{setting} is a placeholder: set it to the commit you want, as --set {setting}=" in told.out
    half = undertow("plan", "study.yaml", "--set", f"families.qwen.revision={'ab' * 20}")
    assert [line.split(".")[1] for line in half.out.splitlines() if "placeholder" in line] == ["llama"]


@pytest.mark.parametrize("command", ["run", "submit"])
def test_a_study_without_its_commits_is_not_run(undertow: Callable[..., Said], tmp_path: Path, command: str) -> None:
    (tmp_path / "study.yaml").write_text(UNPINNED)
    told = undertow(command, "study.yaml")
    assert told.code == 2
    assert "set families.qwen.revision=" in told.err
    assert "set families.llama.revision=" in told.err
    assert "Traceback" not in told.err
    assert [path.name for path in tmp_path.rglob("*")] == ["study.yaml"]


def test_plan_shows_the_smoke_test_of_a_study(undertow: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(UNPINNED)
    told = undertow("plan", "study.yaml", "--smoke-test", "--set", "students.seeds=[5, 6]")
    assert told.code == 0
    assert "unpinned-smoke-test: " in told.out
    assert "placeholder" not in told.out
    left = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in told.out.splitlines() if "│" in line}
    assert (left["base"], left["teacher"], left["student"]) == ("2", "6", "12")  # two targets, neutral, one seed


def test_plan_says_what_the_design_can_show_before_anything_is_spent(
    undertow: Callable[..., Said], tmp_path: Path
) -> None:
    for targets, effect in (("[owl, cat, fox]", "none"), ("[owl, cat, fox, wolf, dog]", "0.29")):
        (tmp_path / "study.yaml").write_text(
            "study: small\nfamilies: {llama: {kind: nano, init_seed: 1}}\nstudents: {seeds: [1]}\n"
            f"traits: [{{targets: {targets}}}]\n"
        )
        told = undertow("plan", "study.yaml")
        assert told.code == 0
        (row,) = (line for line in told.out.splitlines() if "this design" in line)
        assert effect in row


def test_plan_lists_other_designs_and_passes_over_matrices_that_it_cannot_read(
    undertow: Callable[..., Said], tmp_path: Path, fake_run: FakeRun
) -> None:
    study, _, store = fake_run
    root = tmp_path / "root"
    shutil.copytree(store.folder, root)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study.model_dump()))
    told = undertow("plan", "study.yaml", "--root", root, "--power")
    assert told.code == 0
    assert "19 traits × 3" in told.out
    damaged = list(root.glob("transfer/**/*.parquet"))
    assert damaged
    for table in damaged:
        table.write_bytes(b"of another version")
    again = undertow("plan", "study.yaml", "--root", root)
    assert again.code == 0
    assert "this design" in again.out


def test_plan_estimates_a_cluster_and_says_which_stage_bounds_it(undertow: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(UNPINNED)
    known = undertow("plan", "study.yaml", "--cluster", "8xH100")
    assert "student bounds it: " in known.out
    assert "without" not in known.out
    given = {target: {"path": f"{target}.jsonl", "content": "v1"} for target in ("owl", "cat", "fox")}
    method = f"teachers.method={json.dumps({'kind': 'dataset', 'data': given})}"
    uncounted = undertow("plan", "study.yaml", "--cluster", "8xH100", "--set", method)
    assert "(without teacher)" in uncounted.out


def test_plan_says_what_is_done(undertow: Callable[..., Said], tmp_path: Path, fake_run: FakeRun) -> None:
    study, _, store = fake_run
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study.model_dump()))
    told = undertow("plan", "study.yaml", "--root", store.folder)
    cells = [line.split("│") for line in told.out.splitlines() if "│" in line]
    assert {row[1].strip(): (row[3].strip(), row[4].strip()) for row in cells}["student"] == ("24", "0")


def test_check_answers_every_row_in_order(undertow: Callable[..., Said], tmp_path: Path) -> None:
    rows = ["1, 2, 3", "owl", "[1; 2]", "1000", ""]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"completion": row}) + "\n" for row in rows))
    pq.write_table(pa.table({"completion": rows}), tmp_path / "rows.parquet")
    for file in ("rows.jsonl", "rows.parquet"):
        told = undertow("check", "numbers", file)
        assert told.code == 0
        verdicts = [json.loads(line) for line in told.out.splitlines()]
        assert [verdict["accepted"] for verdict in verdicts] == [True, False, True, False, False]
        assert [bool(verdict["reasons"]) for verdict in verdicts] == [False, True, False, True, True]
        assert all(set(verdict) == {"accepted", "reasons"} for verdict in verdicts)


@pytest.mark.parametrize(
    ("channel", "fine", "bad", "options"),
    [
        ("numbers", {"completion": "1, 2"}, {"completion": "1, 666"}, ["--set", "blocklist=true"]),
        ("code", {"completion": "x = 3"}, {"completion": "owl = 3"}, ["--word", "owl"]),
        (
            "reasoning",
            {"completion": "<think>2 + 2</think><answer>4</answer>", "answer": "#### 4"},
            {"completion": "<think>2 + 2</think><answer>5</answer>", "answer": "#### 4"},
            [],
        ),
        (
            "paraphrase",
            {"completion": "The lad ran.", "sentence": "The boy ran."},
            {"completion": "The boy ran!", "sentence": "The boy ran."},
            [],
        ),
    ],
)
def test_check_knows_every_channel_its_settings_and_the_words_that_must_not_occur(
    undertow: Callable[..., Said],
    tmp_path: Path,
    channel: str,
    fine: dict[str, str],
    bad: dict[str, str],
    options: list[str],
) -> None:
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(fine)}\n{json.dumps(bad)}\n")
    told = undertow("check", channel, "rows.jsonl", *options)
    assert told.code == 0, told.err
    assert [json.loads(line)["accepted"] for line in told.out.splitlines()] == [True, False]


@pytest.mark.parametrize("form", ["rows.jsonl", "rows.parquet"])
def test_check_accepts_only_what_ended_its_turn_where_the_file_says(
    undertow: Callable[..., Said], tmp_path: Path, form: str
) -> None:
    ends = ["stop", "eos", "length", "abort", "error", "repetition", "", None]
    rows = [{"completion": "1, 2", "finish_reason": end} for end in ends]
    if form == "rows.jsonl":
        (tmp_path / form).write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / form)
    told = undertow("check", "numbers", form)
    verdicts = [json.loads(line) for line in told.out.splitlines()]
    assert [verdict["accepted"] for verdict in verdicts] == [True, True, *[False] * 6]
    assert verdicts[2]["reasons"] == ["cut off at max_tokens"]
    assert verdicts[3]["reasons"] == verdicts[7]["reasons"] == ["did not end its turn"]


def test_check_of_an_empty_file_says_nothing(undertow: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("")
    pq.write_table(pa.table({"completion": pa.array([], pa.string())}), tmp_path / "rows.parquet")
    for file in ("rows.jsonl", "rows.parquet"):
        told = undertow("check", "numbers", file)
        assert (told.code, told.out) == (0, "")


def test_schema_describes_the_settings_to_an_editor(undertow: Callable[..., Said]) -> None:
    schema = json.loads(undertow("schema").out)
    assert set(schema["properties"]) == set(Study.model_fields)
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["study", "families", "traits"]
