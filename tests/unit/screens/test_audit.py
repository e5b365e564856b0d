"""The section `screens` of an audit: which data sets are vetted, and when that fails."""

from pathlib import Path
from typing import Any

import pytest

from jobs.cli import console, main
from jobs.commands import audit, vet
from jobs.commands.screen_workers import ScreenWorkers
from pipeline.study.audit import load

AUDIT = """
audit: delivery
sources: [lineage.json]
screens:
  numbers: {data: data/numbers.jsonl, base: models/base, members: [gradient, probe], traits: "owl,cat"}
  letters: {data: /elsewhere/letters.jsonl, base: models/base, traits: own.yaml}
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[vet.VetRequest]:
    """What is vetted, in place of doing so: data with "numbers" in its name is likely to pass a trait on."""
    found: list[vet.VetRequest] = []

    def run(console: Any, wanted: vet.VetRequest, out: Path | None, workers: Any) -> int:
        found.append(wanted)
        return vet.LIKELY if "numbers" in wanted.data else 0

    monkeypatch.setattr(vet, "run", run)
    return found


def write(folder: Path, text: str) -> None:
    (folder / "lineage.json").write_text('{"nodes": [], "edges": []}')
    (folder / "audit.yaml").write_text(text)


def run(folder: Path, text: str) -> int:
    write(folder, text)
    return audit.run(console, load(folder / "audit.yaml"), folder, None)


def test_a_data_set_that_is_likely_to_pass_a_trait_on_fails_the_audit(
    asked: list[vet.VetRequest], tmp_path: Path
) -> None:
    assert run(tmp_path, AUDIT) == audit.FAILED
    numbers, letters = asked
    assert (numbers.data, numbers.base) == (str(tmp_path / "data/numbers.jsonl"), str(tmp_path / "models/base"))
    assert ([screen.kind for screen in numbers.screens], numbers.traits) == (["gradient", "probe"], "owl,cat")
    assert (letters.data, letters.traits) == ("/elsewhere/letters.jsonl", str(tmp_path / "own.yaml"))
    assert {screen.kind for screen in letters.screens} == set(vet.SCREENS) - {"attribution"}  # it needs an extra


def test_the_policy_can_let_it_pass(asked: list[vet.VetRequest], tmp_path: Path) -> None:
    assert run(tmp_path, AUDIT + "policy: {fail_on_likely: false}\n") == 0
    assert len(asked) == 2


def test_a_clean_data_set_passes(asked: list[vet.VetRequest], tmp_path: Path) -> None:
    assert run(tmp_path, AUDIT.replace("data/numbers", "data/digits")) == 0


def test_all_data_sets_share_the_workers_of_one_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[ScreenWorkers | None] = []
    monkeypatch.setattr(vet, "run", lambda console, wanted, out, workers: given.append(workers) or 0)
    for address in (["--address", "head:6379"], []):
        write(tmp_path, AUDIT)
        with pytest.raises(SystemExit) as ended:
            main(["audit", str(tmp_path / "audit.yaml"), *address])
        assert ended.value.code == 0
    first, second, *none = given
    assert isinstance(first, ScreenWorkers)
    assert first is second
    assert none == [None, None]
