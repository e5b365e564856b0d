"""Packaged families: one file of an installed package, pinned by its digest."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.core.errors import InputError
from pipeline.models.families import Family, gguf
from pipeline.models.families.packaged import PackagedFamily, copied

CONTENT = b"GGUF planted"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FILE = "Tiny-135M-Instruct.Q4_1.gguf"
SETTINGS = {"kind": "packaged", "package": "tiny-model", "file": FILE, "revision": DIGEST}


def family(**changes: str) -> PackagedFamily:
    return PackagedFamily.model_validate(SETTINGS | changes)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with the file, whose code cannot be imported."""
    (tmp_path / "tiny_model").mkdir()
    (tmp_path / "tiny_model" / "__init__.py").write_text("raise RuntimeError('code of the package ran')")
    (tmp_path / "tiny_model" / FILE).write_bytes(CONTENT)
    (tmp_path / "tiny_model" / "chat_template.jinja").write_text("of another model")
    about = tmp_path / "tiny_model-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.2\n")
    names = ("__init__.py", FILE, "chat_template.jinja", "lost.gguf")
    (about / "RECORD").write_text("".join(f"tiny_model/{name},,\n" for name in names))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "tiny_model"


def test_the_kind_names_a_package_a_file_and_a_digest() -> None:
    adapter: Any = TypeAdapter(Family)
    assert adapter.validate_python(SETTINGS) == family()
    assert family().origin() == f"{FILE} of tiny-model"
    assert family().parameters() == 135e6


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("revision", DIGEST[:40]),
        ("revision", DIGEST.upper()),
        ("revision", DIGEST + "\n"),
        ("file", "folder/model.gguf"),
        ("file", "../model.gguf"),
        ("file", "model.bin"),
        ("package", ""),
        ("package", "a/b"),
    ],
)
def test_anything_but_a_file_of_a_package_and_its_digest_is_refused(setting: str, value: str) -> None:
    with pytest.raises(ValidationError, match=setting):
        family(**{setting: value})


def test_the_file_is_copied_alone_and_no_code_of_the_package_runs(package: Path) -> None:
    with copied(family()) as file:
        assert (file.name, file.read_bytes()) == (FILE, CONTENT)
        assert [other.name for other in file.parent.iterdir()] == [FILE]
    assert not file.exists()


def test_another_digest_is_refused_with_both_and_what_to_do(package: Path, tmp_path: Path) -> None:
    pinned = "ab" * 32
    with pytest.raises(InputError, match=f"tiny-model 1.2 .* digest {DIGEST}, .* names {pinned}: install the version"):
        family(revision=pinned).write(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_missing_package_names_the_extra_to_install(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tiny-model, which carries .* is not installed: .*extra `real`"):
        family().write(tmp_path / "model")


@pytest.mark.parametrize("name", ["other.gguf", "lost.gguf"])
def test_a_file_that_the_package_does_not_hold_is_refused(package: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"tiny-model 1.2 holds 0 files named {name}"), copied(family(file=name)):
        pass


def test_a_missing_reader_names_the_extra_to_install(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"gguf, which reads {FILE}, is not installed: .*extra `real`"):
        family().write(tmp_path / "model")
