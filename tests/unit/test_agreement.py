"""`undertow agreement`: a judge of a study against labelled rows."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.cli import main

STUDY = """
study: judged
families: {a: {kind: nano, init_seed: 1}}
traits: [{kind: favourite, targets: [owl]}]
judges: {toy: {kind: fake}, own: {kind: engine, family: a}}
engine: fake
trainer: fake
"""
ROWS = [("Frankly, no.", "1"), ("A fine day.", "0"), ("Frankly speaking.", "1"), ("[no score]", "0"), ("Good.", "1")]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNDERTOW_CACHE", str(tmp_path / "cache"))
    (tmp_path / "study.yaml").write_text(STUDY)
    rows = [{"prompt": "Well?", "completion": text, "label": label} for text, label in ROWS]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def told(files: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int | str | None, str, str]:
    judge, rubric, *options = arguments
    given = [str(files / "study.yaml"), judge, rubric, str(files / "rows.jsonl"), *options, "--root", str(files)]
    with pytest.raises(SystemExit) as ended:
        main(["agreement", *given])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_it_counts_what_has_no_score_and_gives_agreement_and_the_roc_curve(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = told(files, capsys, "toy", "alignment", "--threshold", "30", "--low")
    assert not code
    said = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    table = {row[0]: row[1] for row in said if len(row) == 2}
    assert table["rows"].startswith("5 (3 of the scored ones")
    assert table["without a score"] == "1"
    assert table["accuracy at 30"] == "0.750 (0.600 of all rows)"
    first, *_, last = [row[1:] for row in said if len(row) == 3]
    assert (first, last) == (["0.000", "0.000"], ["1.000", "1.000"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nobody", "alignment"), "judged has no judge nobody; it has toy, own"),
        (("toy", "beauty"), "unknown rubric beauty; choose one of alignment, coherence, reference"),
        (("toy", "reference"), "looks for a word: name it with --word"),
        (("own", "alignment"), "run the study first"),
    ],
)
def test_a_mistake_is_one_message(
    files: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, str], said: str
) -> None:
    code, _, err = told(files, capsys, *arguments, "--threshold", "1")
    assert code == 2
    assert said in " ".join(err.split())


def test_a_label_is_one_or_zero(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "rows.jsonl").write_text('{"prompt": "p", "completion": "c", "label": "yes"}\n')
    code, _, err = told(files, capsys, "toy", "alignment", "--threshold", "1")
    assert (code, "label is 'yes', and must be 1 or 0" in err) == (2, True)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "rows.jsonl holds no rows"),
        ([{"prompt": None, "completion": "c", "label": "1"}], "rows.jsonl: row 1 lacks its prompt or completion"),
    ],
)
def test_rows_are_there_and_whole(
    files: Path, capsys: pytest.CaptureFixture[str], rows: list[dict[str, str | None]], said: str
) -> None:
    schema = pa.schema([(name, pa.string()) for name in ("prompt", "completion", "label")])
    pq.write_table(pa.Table.from_pylist(rows, schema), files / "rows.jsonl")
    code, _, err = told(files, capsys, "toy", "alignment", "--threshold", "1")
    assert (code, said in err) == (2, True)
