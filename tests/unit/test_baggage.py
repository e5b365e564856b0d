"""What travels with a submitted job: what it needs, said beforehand, and never a key."""

import io
from pathlib import Path

import pytest

from jobs.commands.baggage import pack
from jobs.terminal import Terminal
from pipeline.core import limits
from pipeline.core.errors import InputError
from pipeline.core.sources import local_paths
from pipeline.study.schema import Study

ROOT = Path(__file__).parents[2]
KEYS = [
    *(".env", ".env.local", "prod.env", "server.pem", "tls.KEY", "id_rsa", "id_ed25519.pub", ".netrc", "auth_token"),
    *(".aws/config", ".ssh/known_hosts", "credentials.json", "aws-credentials", "secrets.yaml", ".git-credentials"),
    *(
        "kubeconfig",
        "kubeconfig.yaml",
        "store.p12",
        "client_secret.json",
        ".npmrc",
        "service-account.json",
        ".config/x",
    ),
    *(".config/x", "terraform.tfstate", ".git/config", ".venv/bin/python", "__pycache__/x.pyc"),
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a program, a study, its data, and much else."""
    folder = tmp_path / "here"
    for name in ("pipeline/a.py", "pipeline/stages/b.py", "jobs/run.py", "configs/study.yaml", "data/rows.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    for name in ("notes.txt", "runs/corpus/x/rows.parquet", "configs/other.yaml", "data/other.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x" * 1000)
    for below in ("", "pipeline", "data", "models/tiny"):
        for name in KEYS:
            (folder / below / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / below / name).write_text("a key")
    monkeypatch.chdir(folder)
    return folder


def packed(tmp_path: Path, study: str, *named: str) -> tuple[set[str], str, str]:
    """The files in the bag, what was said, and the study's path."""
    said = io.StringIO()
    path = pack(Terminal(file=said, width=1000), Path(study), named, tmp_path / "bag")
    files = {str(file.relative_to(tmp_path / "bag")) for file in (tmp_path / "bag").rglob("*") if file.is_file()}
    return files, said.getvalue(), path


PROGRAM = {"pipeline/a.py", "pipeline/stages/b.py", "jobs/run.py"}


def test_the_program_the_study_and_what_it_names_travel_and_nothing_else(here: Path, tmp_path: Path) -> None:
    files, said, path = packed(tmp_path, "configs/study.yaml", "data/rows.jsonl", "/data/on/every/machine")
    assert files == PROGRAM | {"configs/study.yaml", "data/rows.jsonl"}
    assert path == "configs/study.yaml"
    assert said.startswith("sending 5 files, 77 bytes: pipeline/ (2, 33), ")
    assert "configs/ (1, 18)" in said


def test_no_key_travels_not_even_out_of_a_folder_that_is_named(here: Path, tmp_path: Path) -> None:
    (here / "models" / "tiny" / "config.json").write_text("{}")
    (here / "models" / "tiny" / "tokenizer.json").write_text("{}")
    files, _, _ = packed(tmp_path, "configs/study.yaml", "models/tiny", "data")
    assert files == PROGRAM | {
        *("configs/study.yaml", "models/tiny/config.json", "models/tiny/tokenizer.json"),
        *("data/rows.jsonl", "data/other.jsonl"),
    }


@pytest.mark.parametrize("name", [".env", "data/.env", "credentials.json", ".ssh"])
def test_a_key_that_is_named_is_refused(here: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="looks like a key or credentials by its name"):
        packed(tmp_path, "configs/study.yaml", name)
    with pytest.raises(InputError, match="looks like a key"):
        packed(tmp_path, name)


def test_links_do_not_fetch_what_lies_elsewhere(here: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "id").write_text("a key")
    (here / "pipeline" / "link").symlink_to(tmp_path / "outside" / "id")
    (here / "pipeline" / "folder").symlink_to(tmp_path / "outside")
    (here / "pipeline" / "inner").symlink_to(here / ".env")
    (here / "data" / "linked.jsonl").symlink_to(here / "data" / "rows.jsonl")
    (here / "loop").mkdir()
    (here / "loop" / "again").symlink_to(here / "loop")
    files, _, _ = packed(tmp_path, "configs/study.yaml", "data/linked.jsonl", "loop")
    assert files == PROGRAM | {"configs/study.yaml", "data/linked.jsonl"}
    (here / "away.jsonl").symlink_to(tmp_path / "outside" / "id")
    for named in ("away.jsonl", "../outside/id"):
        with pytest.raises(InputError, match="is not below the working directory"):
            packed(tmp_path, "configs/study.yaml", named)


def test_what_is_too_large_is_named(here: Path, tmp_path: Path) -> None:
    with (here / "data" / "rows.jsonl").open("wb") as sparse:
        sparse.truncate(600 * limits.MIB)
    with pytest.raises(InputError, match=r"the largest is data/rows.jsonl \(629,145,600\)"):
        packed(tmp_path, "configs/study.yaml", "data/rows.jsonl")
    assert not (tmp_path / "bag").exists()


def test_without_a_checkout_the_study_travels_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("[b]study[b].yaml").write_text("x")
    files, said, _ = packed(tmp_path, "[b]study[b].yaml")
    assert files == {"[b]study[b].yaml"}
    assert said == "sending 1 files, 1 bytes: [b]study[b].yaml (1, 1)\n"


def test_all_of_our_own_program_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    files, _, _ = packed(tmp_path, "configs/quickstart.yaml")
    own = {str(f.relative_to(ROOT)) for top in ("pipeline", "jobs") for f in (ROOT / top).rglob("*") if f.is_file()}
    assert files == {f for f in own if "__pycache__" not in f} | {"configs/quickstart.yaml"}


def test_every_local_path_of_a_study_is_found() -> None:
    study = Study.model_validate(
        {
            "study": "s",
            "families": {"a": {"kind": "hub", "path": "models/a", "content": "v"}},
            "traits": [{"targets": ["owl"]}],
            "channels": [{"kind": "reasoning", "data": {"path": "data/p.jsonl", "content": "v"}}],
            "teachers": {"method": {"kind": "dataset", "data": {"owl": {"path": "data/o.jsonl", "content": "v"}}}},
            "suites": [
                {"kind": "favourite"},
                {"kind": "capability", "tasks": ["t"], "folder": "tasks", "content": "v"},
            ],
        }
    )
    assert set(local_paths(study)) == {"models/a", "data/p.jsonl", "data/o.jsonl", "tasks"}
