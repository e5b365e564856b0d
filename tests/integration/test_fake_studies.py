"""Whole studies under real Ray with the fake engine and trainer: what the driver promises."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.clusters import Cluster
from tests.extending import extend

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
STUDY = "configs/miniature.yaml"
Command = Callable[..., subprocess.CompletedProcess[str]]
FAKE = ("--set", "engine=fake", "--set", "trainer=fake")
MORE = ("--set", "corpus.rows=150", "--set", "students.seeds=[1, 2]")
# What is to be made is then little.
ONE_FAMILY = ("--set", "teachers.families=[llama-nano]", "--set", "students.families=[llama-nano]")
ONE_TARGET = ("--set", "traits=[{kind: favourite, category: animal, targets: [owl]}]")


def manifests(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.glob("*/*/manifest.json")}


@pytest.fixture(scope="module")
def keys(undertow: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    assert undertow("keygen", "builder", "--out", folder).returncode == 0
    return folder


@pytest.fixture(scope="module")
def root(undertow: Command, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study, signed as it ran."""
    root = tmp_path_factory.mktemp("fake")
    sign = ("--set", f"resources.sign={{key: {keys}/builder.pem}}")
    done = undertow("run", STUDY, "--root", root, *FAKE, *MORE, *sign)
    assert done.returncode == 0, done.stderr
    return root


def cells(root: Path) -> list[dict[str, object]]:
    (path,) = root.glob("transfer/*/cells.parquet")
    return [row for row in pq.read_table(path).to_pylist() if row["metric"] == "margin"]


def test_a_trait_passes_within_a_family_and_not_across(root: Path) -> None:
    lifts = {
        (row["teacher_family"], row["student_family"]): row["estimate"]
        for row in cells(root)
        if row["comparison"] == "trait"
    }
    for (teacher, student), lift in lifts.items():
        assert (lift > 1.0) == (teacher == student)


def test_a_run_signs_what_it_commits_and_the_whole_chain_of_its_report_holds(
    undertow: Command, root: Path, keys: Path, tmp_path: Path
) -> None:
    (report,) = (root / "report").iterdir()
    told = undertow("verify", report, "--chain", "--keys", keys, "--summary", tmp_path / "vsa.json")
    assert told.returncode == 0, told.stdout + told.stderr
    made = len(manifests(root))
    assert f"{made} artifacts, {made} of them signed: the chain holds" in told.stdout
    summary = json.loads((tmp_path / "vsa.json").read_text())
    assert summary["predicate"]["verificationResult"] == "PASSED"
    (statement, *_) = (root / "student").glob("*/signatures/*.dsse.json")
    payload = json.loads(base64.b64decode(json.loads(statement.read_text())["payload"]))
    assert payload["predicate"]["buildDefinition"]["internalParameters"]["signed"] == "run"


def test_a_run_does_not_start_without_the_key_that_it_should_sign_with(undertow: Command, tmp_path: Path) -> None:
    sign = ("--set", "resources.sign={key: none.pem}")
    refused = undertow("run", STUDY, "--root", tmp_path / "root", *FAKE, *sign)
    assert refused.returncode == 2
    assert "cannot read the signing key none.pem" in refused.stderr
    assert not list((tmp_path / "root").glob("*/*/manifest.json"))


def test_the_same_command_again_does_nothing_and_says_so(undertow: Command, root: Path) -> None:
    before = manifests(root)
    again = undertow("run", STUDY, "--root", root, *FAKE, *MORE)
    assert again.returncode == 0
    assert "Nothing to do" in again.stdout
    assert manifests(root) == before


def test_status_show_and_report_read_what_is_stored(undertow: Command, root: Path, tmp_path: Path) -> None:
    assert "complete" in undertow("status", root).stdout
    (corpus, *_) = sorted((root / "corpus").iterdir())
    shown = undertow("show", corpus).stdout
    assert "completions/" in shown
    assert '"accepted"' in shown
    # Before the test below makes manifests anew: the page shows how long their steps took.
    (report,) = (root / "report").iterdir()
    assert undertow("report", report, "--out", tmp_path / "again").returncode == 0
    assert (tmp_path / "again" / "report.html").read_bytes() == (report / "report.html").read_bytes()


def test_lost_manifests_are_made_again_from_their_units_without_new_work(cluster: Cluster, root: Path) -> None:
    before = manifests(root)
    lost = [path for path in before if path.split("/")[0] in ("completions", "student")]
    for path in lost:
        (root / path).unlink()
    again = cluster.run("run", STUDY, "--root", root, *FAKE, *MORE)
    assert again.returncode == 0, again.stdout
    after = manifests(root)
    assert {path: json.loads(after[path])["files"] for path in lost} == {
        path: json.loads(before[path])["files"] for path in lost
    }


def test_every_table_opens_with_other_peoples_tools(root: Path) -> None:
    from datasets import load_dataset

    for pattern in ("completions/*/shard-*.parquet", "corpus/*/rows.parquet", "answers/*/answers.parquet"):
        files = [str(path) for path in sorted(root.glob(pattern))]  # some without rows: a gate samples no answers
        table = load_dataset("parquet", data_files=files, split="train", cache_dir=str(root / ".cache"))
        assert len(table) == sum(pq.read_metadata(file).num_rows for file in files) > 0


def test_the_report_marks_a_smoke_test(root: Path) -> None:
    (page,) = root.glob("report/*/report.html")
    assert "SMOKE TEST" in page.read_text().upper()


def test_a_gate_that_refuses_its_teacher_blocks_its_dependents_only_and_says_so_again(
    undertow: Command, cluster: Cluster, tmp_path: Path
) -> None:
    """No teacher shows as much as this gate asks; the neutral ones have none to pass."""
    command = ("run", STUDY, "--root", tmp_path, *FAKE, *MORE, *ONE_FAMILY, "--set", "teachers.gate.min_lift=99")
    done = cluster.run(*command)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert "and the gate requires +99" in done.stdout
    made = manifests(tmp_path)
    assert {path.split("/")[0] for path in made} == {
        "base", "teacher", "gate", "completions", "corpus", "student", "answers", "transfer", "report",
    }  # fmt: skip
    assert all("neutral" in path for path in made if path.startswith(("completions/", "corpus/", "student/")))
    verdicts = {row["verdict"] for row in cells(tmp_path) if row["comparison"] == "trait"}
    assert verdicts == {"gate failed"}
    (log,) = tmp_path.glob("studies/*/logs/gate/owl-*.jsonl")
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == [
        "unit begun", "unit done", "refused", "done",
    ]  # fmt: skip
    again = undertow(*command)
    assert again.returncode == 1
    assert "and the gate requires +99" in again.stdout
    assert manifests(tmp_path) == made


def test_every_step_has_a_log_of_json_lines_that_name_study_step_and_unit(undertow: Command, root: Path) -> None:
    made = {path.removesuffix("/manifest.json") for path in manifests(root)}
    (place,) = root.glob("studies/*/logs")
    logs = {str(path.relative_to(place)).removesuffix(".jsonl"): path for path in place.glob("*/*.jsonl")}
    assert logs.keys() == made
    for step, path in logs.items():
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert {(line["study"], line["step"]) for line in lines} == {("miniature", step)}
        assert lines[-1]["event"] == "done"
        if step.startswith("completions/"):
            done = [line for line in lines if line["event"] == "unit done"]
            assert sorted(line["unit"] for line in done) == ["shard-00000", "shard-00001", "shard-00002"]
            assert sum(line["results"]["rows"] for line in done) == 240
    assert f"logs: {place}/" in undertow("status", root).stdout


def test_a_study_ends_with_a_kind_of_step_and_teachers_write_until_enough_is_accepted(
    undertow: Command, cluster: Cluster, tmp_path: Path
) -> None:
    enough = ("--set", "completions={until: {at_most: 800}, shard_rows: 20}", "--set", "corpus.rows=50", *ONE_TARGET)
    done = cluster.run("run", STUDY, "--root", tmp_path, *FAKE, *enough, "--until", "corpus")
    assert done.returncode == 0, done.stdout
    assert "steps are left; go on without --until" in done.stdout
    made = {path.split("/")[0] for path in manifests(tmp_path)}
    assert made == {"base", "teacher", "answers", "gate", "completions", "corpus"}
    assert "complete up to corpus" in undertow("status", tmp_path).stdout
    for path, content in manifests(tmp_path).items():
        if path.startswith("completions/"):
            names = [file["path"].removesuffix(".parquet") for file in json.loads(content)["files"] if file["rows"]]
            units = (tmp_path / path).parent / "units"
            found = [json.loads((units / f"{name}.json").read_text())["results"]["accepted"] for name in names]
            assert names == [f"shard-{number:05d}" for number in range(len(names))]
            assert sum(found) >= 50 > sum(found[:-1])


def test_too_few_accepted_rows_say_how_many_to_generate_and_a_failed_step_adds_to_its_log(
    cluster: Cluster, root: Path, tmp_path: Path
) -> None:
    """On what the whole study has written: only the corpora are to be made."""
    for kind in ("base", "teacher", "gate", "answers", "completions"):
        shutil.copytree(root / kind, tmp_path / kind)
    for count in (1, 2):
        done = cluster.run("run", STUDY, "--root", tmp_path, *FAKE, "--set", "corpus.rows=100000", "--until", "corpus")
        assert done.returncode == 1
        assert "set completions.rows to" in done.stdout
        assert "Traceback" not in done.stdout
        (log,) = tmp_path.glob("studies/*/logs/corpus/*-owl-llama-nano-*.jsonl")
        assert [json.loads(line)["event"] for line in log.read_text().splitlines()].count("failed") == count
        assert str(log.parent) in done.stdout


def test_a_machine_that_is_too_small_is_refused_before_anything_is_written(cluster: Cluster, tmp_path: Path) -> None:
    done = cluster.run("run", STUDY, "--root", tmp_path, "--set", "resources.engines.memory_gib=100000")
    assert done.returncode == 2
    assert "memory_gib" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_stage_of_somebody_elses_runs_on_ray_and_is_seen_like_any_other(tmp_path: Path) -> None:
    """The fifth axis of docs/extending.md: one file and one line of the registry."""
    environment = os.environ | extend(tmp_path) | {"COLUMNS": "200", "NO_COLOR": "1"}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jobs.cli", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=300)

    done = call("run", "study.yaml", "--root", "root", "--until", "lengths")
    assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(path.read_text())["results"] for path in tmp_path.glob("root/lengths/*/manifest.json")]
    assert len(found) == len(list(tmp_path.glob("root/corpus/*/manifest.json"))) > 0
    assert all(results["mean_characters"] > 0 for results in found)
    assert "lengths" in call("status", "root").stdout
    assert "lengths" in call("plan", "study.yaml", "--root", "root").stdout
    assert call("verify", "root").returncode == 0
