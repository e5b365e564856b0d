"""The command, what is collected for all formats, and that foreign names do nothing."""

import json
import shutil
import string
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, ModelCard

from pipeline.core.errors import InputError
from pipeline.provenance.exports import FORMATS, bom, card, eu, openlineage
from pipeline.provenance.exports.markdown import code, one_line, table
from pipeline.stages.base import BaseSpec
from pipeline.stages.corpus import CorpusSpec
from pipeline.stages.student import StudentSpec
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from tests.unit.conftest import Said
from tests.unit.provenance.exports.conftest import HOSTILE, FakeRun, SubjectOf, commit, copied, described, path_of

STUDENT = "student/numbers-owl-llama-to-qwen-s1"
Undertow = Callable[..., Said]


@pytest.mark.slow
def test_a_parent_that_is_gone_keeps_its_digest_and_is_no_longer_measured(fake_run: FakeRun, tmp_path: Path) -> None:
    _, _, store = fake_run
    root = copied(store, tmp_path)
    base = artifact.require(root, path_of(root, "base/qwen"))
    shutil.rmtree(Path(root.root) / base.path)
    subject = described(root, path_of(root, STUDENT))
    assert base.path not in subject.steps
    content = json.loads(bom.export(subject)[bom.FILE])
    (component,) = [one for one in content["components"] if one["bom-ref"] == base.path]
    assert component["type"] == "machine-learning-model"
    assert component["hashes"] == [{"alg": "SHA-256", "content": base.digest}]
    assert {"name": "undertow:evidence", "value": "declared"} in component["properties"]
    fields = json.loads(eu.export(subject)[eu.FIELDS])
    (parent,) = fields["derived_from"]
    assert parent["origin"] == "not known"
    assert f"what {base.path} was trained on" in fields["not_known"]


def test_a_parent_that_was_replaced_lends_nothing(hub_chain: Mapping[str, Manifest], store: Store) -> None:
    before = hub_chain["base"]
    shutil.rmtree(Path(store.root) / before.path)
    spec = BaseSpec.from_identity(before.settings)
    after = commit(store, "base", "qwen", spec, {}, {"model/config.json": b'{"model_type": "llama"}'})
    assert (after.path, after.digest != before.digest) == (before.path, True)
    main = json.loads(bom.export(described(store, hub_chain["student"].path))[bom.FILE])["metadata"]["component"]
    assert main["pedigree"]["ancestors"][0]["hashes"] == [{"alg": "SHA-256", "content": before.digest}]
    assert "architectureFamily" not in main["modelCard"]["modelParameters"]


@pytest.mark.parametrize(
    ("to", "name", "told"),
    [
        ("croissant", STUDENT, "kind dataset, completions, corpus; of what it was made with: completions/numbers-owl"),
        ("eu", "corpus/numbers-owl-llama", "kind base, teacher, student; of what it was made with: base/llama-"),
        ("bom", "gate/owl-llama", "kind base, teacher, student, dataset, completions, corpus"),
        ("card", "answers/llama", "is a answers, and this format describes models and data sets"),
    ],
)
def test_a_format_refuses_what_it_cannot_describe_and_names_what_it_can(
    to: str, name: str, told: str, subject_of: SubjectOf
) -> None:
    with pytest.raises(InputError, match=told):
        FORMATS[to](subject_of(name))


def test_a_missing_library_is_told_with_its_remedy(subject_of: SubjectOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openlineage.client.serde", None)
    with pytest.raises(
        InputError, match=r"openlineage.client.serde is not installed.*pip install 'undertow\[export\]'"
    ):
        FORMATS["openlineage"](subject_of(STUDENT))


def test_the_command_writes_a_file_a_folder_or_the_terminal(
    fake_run: FakeRun, undertow: Undertow, tmp_path: Path
) -> None:
    _, _, store = fake_run
    place = f"{store.root}/{path_of(store, STUDENT)}"
    printed = undertow("export", place, "--to", "bom")
    assert printed.code == 0
    assert json.loads(printed.out)["specVersion"] == "1.7"
    assert undertow("export", place, "--to", "bom", "--out", "deep/one.json").code == 0
    assert (tmp_path / "deep" / "one.json").read_text() == printed.out
    undertow("export", place, "--to", "bom", "--out", "deep")
    assert (tmp_path / "deep" / bom.FILE).read_text() == printed.out
    undertow("export", place, "--to", "eu", "--out", "eu")
    assert {path.name for path in (tmp_path / "eu").iterdir()} == {eu.PAGE, eu.FIELDS}


def test_what_cannot_be_read_is_told_beside_the_export(fake_run: FakeRun, undertow: Undertow, tmp_path: Path) -> None:
    _, _, store = fake_run
    root = copied(store, tmp_path)
    matrix = path_of(root, "transfer/fake")
    (Path(root.root) / matrix / "manifest.json").write_text("{}")
    said = undertow("export", f"{root.root}/{path_of(root, STUDENT)}", "--to", "bom")
    assert said.code == 0
    assert f"! {matrix}/manifest.json is damaged" in said.err
    assert "quantitativeAnalysis" not in json.loads(said.out)["metadata"]["component"]["modelCard"]


def test_mistakes_on_the_command_line_are_told(fake_run: FakeRun, undertow: Undertow, tmp_path: Path) -> None:
    _, _, store = fake_run
    place = f"{store.root}/{path_of(store, 'corpus/numbers-owl-llama')}"
    (tmp_path / "file").write_text("")
    for arguments, told in (
        ((place, "--to", "spdx"), "choose one of attestations, bom, card, croissant, eu, openlineage, vsa"),
        ((store.root, "--to", "bom"), "is no finished artifact"),
        ((place, "--to", "card", "--out", place), "lies in the root"),
        ((place, "--to", "card", "--out", "file/card.md"), "cannot write file/card.md"),
    ):
        said = undertow("export", *arguments)
        assert (said.code, said.out) == (2, "")
        assert told in said.err
    assert "## Origin" not in (Path(place) / "README.md").read_text()  # the artifact's own card is as it was


def test_foreign_names_show_and_do_nothing(hub_chain: Mapping[str, Manifest], store: Store) -> None:
    """An artifact's name may hold everything but slashes and ASCII control characters."""
    made = hub_chain["corpus"]
    rows = {"rows.parquet": artifact.read_table(store, made, "rows.parquet")}
    written = {"completions": hub_chain["completions"].path}
    data = commit(store, "corpus", HOSTILE, CorpusSpec.from_identity(made.settings), written, rows)
    spec = StudentSpec.from_identity(hub_chain["student"].settings)
    inputs = {"base": hub_chain["base"].path, "corpus": data.path}
    student = commit(store, "student", HOSTILE, spec, inputs, {"adapter/x": b""})
    subject = described(store, student.path)
    page = card.export(subject)["README.md"]
    assert ModelCard(page).data.datasets == [one_line(data.path)]
    data_page = card.export(described(store, data.path))["README.md"]
    assert DatasetCard(data_page).data.configs
    for text in (page, data_page, eu.export(subject)[eu.PAGE]):
        body = text.rpartition("\n---\n")[2]
        assert one_line(HOSTILE) in body.replace("\\|", "|")
        assert "<script>" not in without_code(body, student.path, data.path)
        assert text.isprintable() or set(text) - set(string.printable) <= {"—", "…", "γ"}
    content = json.loads(bom.export(subject)[bom.FILE])
    assert content["metadata"]["component"]["name"] == student.path
    assert openlineage.export(subject)[openlineage.FILE].isascii()


def without_code(body: str, *paths: str) -> str:
    """A page without these paths, and their names, where they are inline code."""
    for name in (name for path in paths for name in (path, path.partition("/")[2])):
        for shown in (code(name), code(name).replace("|", "\\|")):
            body = body.replace(shown, "")
    return body


def test_code_and_tables_hold_backticks_bars_and_line_breaks() -> None:
    assert code("a``b") == "```a``b```"
    assert code("`a") == "`` `a ``"
    assert code("a\n\n# b\x1b[2J") == "`a # b\\x1b[2J`"
    assert table(["x"], [[code("a|b")]]).splitlines()[-1] == "| `a\\|b` |"
