"""What `undertow vet` is given on the command line, before any model is opened."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.commands import vet
from pipeline.core.errors import InputError
from pipeline.core.sources import Dataset
from tests.unit.conftest import Said

COMMIT = "a" * 40


def test_a_data_set_of_the_hub_is_read_at_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def pieces(dataset: Dataset, rows: int) -> Iterator[pa.Table]:
        asked.append(dataset.revision)
        yield pa.table({"prompt": ["a", "b"], "completion": ["c", "d"]})

    monkeypatch.setattr(Dataset, "pieces", pieces)
    drawn = vet._rows(f"hf-dataset:owner/name@{COMMIT}", 5, 0)
    assert asked == [COMMIT]
    assert (drawn.total, drawn.digest) == (2, f"commit:{COMMIT}")
    assert sorted(drawn.rows["completion"].to_pylist()) == ["c", "d"]


@pytest.mark.parametrize("place", ["hf-dataset:owner/name", "hf-dataset:name@" + COMMIT, "hf-dataset:o/n@main"])
def test_a_data_set_without_owner_or_commit_is_refused(place: str) -> None:
    with pytest.raises(InputError, match="hf-dataset:OWNER/NAME@COMMIT"):
        vet._rows(place, 5, 0)


def test_screens_are_chosen_by_name() -> None:
    assert [screen.kind for screen in vet.screens_of(["probe", "surface"])] == ["surface", "probe"]
    with pytest.raises(InputError, match=r"no screen x-ray; there are surface, "):
        vet.screens_of(["x-ray"])


def test_traits_by_name_and_by_file(tmp_path: Path) -> None:
    (own,) = vet.traits_of("owl, cat")
    assert own.kind == "favourite"
    assert own.targets == ["owl", "cat"]
    (tmp_path / "own.yaml").write_text("traits: [{kind: favourite, category: tree, targets: [oak]}]")
    (tree,) = vet.traits_of(str(tmp_path / "own.yaml"))
    assert tree.kind == "favourite"
    assert tree.category == "tree"
    (tmp_path / "wrong.yaml").write_text("traits: [{kind: favourite, categories: tree}]")
    with pytest.raises(InputError, match="categories"):
        vet.traits_of(str(tmp_path / "wrong.yaml"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("Snow Leopard", "'Snow Leopard' is no name of a trait"),
        ("owl,Snow Leopard", "'Snow Leopard' is no name of a trait"),
        (" , ", "nothing to look for"),
        ("", "nothing to look for"),
    ],
)
def test_names_that_are_none_are_a_message(given: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        vet.traits_of(given)


def test_a_name_given_twice_is_one_target() -> None:
    assert vet.traits_of("owl,cat,owl")[0].names() == ("owl", "cat")


@pytest.mark.parametrize(
    "traits",
    [
        "[{kind: favourite, targets: [owl, owl]}]",
        "[{kind: favourite, targets: [owl]}, {kind: favourite, category: tree, targets: [owl]}]",
    ],
)
def test_two_traits_of_one_name_are_refused(traits: str, tmp_path: Path) -> None:
    """Scores are looked up by name: the second would get those of the first."""
    (tmp_path / "own.yaml").write_text(f"traits: {traits}")
    with pytest.raises(InputError, match=r"own\.yaml: the file: several traits are named owl"):
        vet.traits_of(str(tmp_path / "own.yaml"))


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputError, match=r"empty\.jsonl holds no rows"):
        vet._rows(str(tmp_path / "empty.jsonl"), 5, 0)


def test_a_missing_file_is_a_message(undertow: Callable[..., Said], tmp_path: Path) -> None:
    said = undertow("vet", "none.jsonl", "--base", tmp_path)
    assert said.code == 2
    assert "there is no file none.jsonl" in said.err
