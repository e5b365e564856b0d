"""Reading a study file: what it means, and that every mistake names its line and field."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.core import limits
from pipeline.core.errors import StudyError
from pipeline.study.loader import load
from pipeline.study.schema import Study
from pipeline.study.teachers import Finetuned

TEXT = """\
study: small
families:
  llama: {kind: nano, init_seed: 1}
traits:
  - targets: [owl, cat]
teachers:
  method:
    kind: finetuned
    recipe: {epochs: 2}
"""
UNHURRIED = hypothesis_settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Study]:
    def read(text: str = TEXT, *overrides: str) -> Study:
        file = tmp_path / "study.yaml"
        file.write_text(text, encoding="utf-8")
        return load(file, overrides)

    return read


def test_what_is_left_out_has_the_published_defaults(read: Callable[..., Study]) -> None:
    study = read()
    assert study.completions.rows == 30_000
    assert study.corpus.rows == 10_000
    assert (study.students.rank, study.students.alpha, study.students.epochs) == (8, 8, 3)
    assert (study.students.learning_rate, study.students.batch, study.students.warmup_steps) == (2e-4, 66, 5)
    assert len(study.students.seeds) == 8
    assert isinstance(study.teachers.method, Finetuned)
    assert study.teachers.method.recipe.epochs == 2


@pytest.mark.parametrize(
    ("override", "got"),
    [
        ("students.epochs=7", lambda s: s.students.epochs == 7),
        ("students.seeds=[4, 5]", lambda s: s.students.seeds == [4, 5]),
        ("traits.0.targets.1=wolf", lambda s: list(s.targets) == ["owl", "wolf"]),
        ("traits.0.targets.0=wolf", lambda s: list(s.targets) == ["wolf", "cat"]),
        ("resources.engines.max_workers=3", lambda s: s.resources.engines.max_workers == 3),
        ("teachers.method={kind: prompted}", lambda s: s.teachers.method.kind == "prompted"),
        ("families.other={kind: nano, init_seed: 9}", lambda s: list(s.families) == ["llama", "other"]),
        ("study=a=b", None),
    ],
)
def test_an_override_sets_one_setting(
    read: Callable[..., Study], override: str, got: Callable[[Study], bool] | None
) -> None:
    if got is None:
        with pytest.raises(StudyError, match=r"study.yaml:1: study: .*given: 'a=b'"):
            read(TEXT, override)
    else:
        assert got(read(TEXT, override))


def test_overrides_apply_in_order_and_to_the_right_one_of_equal_items(read: Callable[..., Study]) -> None:
    assert read(TEXT, "seed=2", "seed=3").seed == 3
    assert read(TEXT, "students.seeds=[1, 1]", "students.seeds.1=2").students.seeds == [1, 2]


@pytest.mark.parametrize(
    ("line", "place", "said"),
    [
        ("colour: red", "10: colour", "unknown setting"),
        ("students: {epoch: 3}", "10: students.epoch", "unknown setting"),
        ("seed: one", "10: seed", "integer"),
        ("seed: true", "10: seed", "integer"),
        ("seed: 1.0", "10: seed", "integer"),
        ("seed:", "10: seed", "integer"),
        ('corpus: {rows: "5"}', "10: corpus.rows", "integer"),
        ("corpus: {rows: 0}", "10: corpus.rows", "greater"),
        ("completions:\n  rows: 5\n  temperature: .nan", "12: completions.temperature", "finite"),
        ("students: {learning_rate: .inf}", "10: students.learning_rate", "finite"),
        ("students: {seeds: []}", "10: students.seeds", "at least 1"),
        ("students: {seeds: [1, 1]}", "10: students", "listed twice"),
        ("students: {families: [gpt]}", "", "students.families names gpt"),
        ("channels: []", "10: channels", "at least 1"),
        ("channels: [{kind: code}]", "", "knows no code; add it to its channels"),
        ("channels: [{kind: poems}]", "10: channels.0", "numbers"),
        ("channels:\n- {kind: numbers}\n- {kind: numbers, min_examples: a}", "12: channels.1.min_examples", "integer"),
        ("suites: []", "10: suites", "at least 1"),
        ("suites: [{kind: quiz}]", "10: suites.0", "favourite"),
        ("measure: 3", "10: measure", "dictionary"),
        ("engine: openai", "10: engine", "vllm"),
        ("engine: fake", "", "both fake or both real"),
        ("study: again", "10", "the key study stands twice"),
        ("seed: !!python/name:os.system", "10", "tag"),
        ("seed: !secret 1", "10", "tag"),
        ("!secret seed: 1", "10", "tag"),
        ("seed: [1", "", "not YAML"),
        ("seed: *nobody", "10", "not YAML"),
        ("seed: 2024-99-99", "10", "not a plain YAML value"),
        ("corpus: &loop {rows: *loop}", "", "nested too deeply"),
        ("corpus: {rows: 1, rows: 2}", "10", "the key rows stands twice"),
    ],
)
def test_a_mistake_names_its_line_and_its_field(read: Callable[..., Study], line: str, place: str, said: str) -> None:
    with pytest.raises(StudyError) as error:
        read(TEXT + line + "\n")
    message = str(error.value)
    assert f"study.yaml:{place}" in message
    assert said in message


@pytest.mark.parametrize(
    ("before", "after", "place", "said"),
    [
        ("study: small\n", "", "1: study", "missing"),
        ("{kind: nano, init_seed: 1}", "{kind: nano}", "3: families.llama.init_seed", "missing"),
        ("kind: nano", "kind: gpt", "3: families.llama", "'nano', 'hub'"),
        ("  llama: {kind: nano, init_seed: 1}", "  nano: {kind: nano, init_seed: x}", "3: families.nano.init_seed", ""),
        ("init_seed: 1", "init_seed: 1, hidden_size: 50", "3: families.llama", "hidden_size 50"),
        ("[owl, cat]", "[]", "5: traits.0.targets", "at least 1"),
        ("[owl, cat]", "owl", "5: traits.0.targets", "list"),
        ("[owl, cat]", "[owl, cat, owl]", "5: traits.0", "named twice: owl"),
        ("[owl, cat]", "[owl, unicorn]", "", "knows no animal named unicorn"),
        ("- targets", "- kind: hatred\n    targets", "5: traits.0.kind", "favourite"),
        ("epochs: 2", "epochs: two", "9: teachers.method.recipe.epochs", "integer"),
        ("kind: finetuned", "kind: hypnosis", "8: teachers.method.kind", "prompted"),
    ],
)
def test_a_mistake_inside_of_a_section_too(
    read: Callable[..., Study], before: str, after: str, place: str, said: str
) -> None:
    with pytest.raises(StudyError) as error:
        read(TEXT.replace(before, after))
    assert f"study.yaml:{place}" in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize("name", ["a/b", "..", "a..b", "#a", "a#b", "zoë", "Owl", "-a", "a b", "owl\\n", "", "x" * 49])
@pytest.mark.parametrize(
    ("before", "field"),
    [("[owl, cat]", "traits.0.targets.0"), ("llama:", "families."), ("study: small", "study")],
)
def test_names_that_a_path_or_a_label_cannot_carry_are_refused(
    read: Callable[..., Study], before: str, field: str, name: str
) -> None:
    after = {"[owl, cat]": f'["{name}"]', "llama:": f'"{name}":', "study: small": f'study: "{name}"'}[before]
    with pytest.raises(StudyError, match=field):
        read(TEXT.replace(before, after))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("students.epochs", "write it as name.of.setting=value"),
        ("=3", "write it as name.of.setting=value"),
        ("students.epochs=many", "students.epochs"),
        ("students.epoch=3", "students.epoch: unknown setting"),
        ("study.name=x", "study is a plain value"),
        ("traits.5.targets=[owl]", "5 is no index"),
        ("traits.first.targets=[owl]", "first is no index"),
        ("traits.².targets=[owl]", "² is no index"),
        ("traits.-1.targets=[owl]", "-1 is no index"),
        ("seed=[1", "not a plain YAML value"),
        ("seed=!!python/name:os.system", "not a plain YAML value"),
        ("seed=2024-99-99", "not a plain YAML value"),
        ("teachers.gate.min_lift=.nan", "teachers.gate.min_lift"),
        ("a..b=1", "a: unknown setting"),
    ],
)
def test_a_mistake_in_an_override_names_it(read: Callable[..., Study], override: str, said: str) -> None:
    with pytest.raises(StudyError) as error:
        read(TEXT, override)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("5e-4", 5e-4),
        ("+2e-3", 2e-3),
        ("1.5e3", 1500.0),
        (".5e-1", 0.05),
        ("1.e-3", 1e-3),
    ],
)
def test_an_exponent_makes_a_number_with_and_without_a_point(
    read: Callable[..., Study], written: str, value: float
) -> None:
    assert read(TEXT + f"students: {{learning_rate: {written}}}\n").students.learning_rate == value
    assert read(TEXT, f"students.learning_rate={written}").students.learning_rate == value
    assert read(TEXT + f"sweep: {{learning_rate: [{written}]}}\n").sweep == {"learning_rate": [value]}


def test_what_only_looks_like_an_exponent_stays_text(read: Callable[..., Study]) -> None:
    assert list(read(TEXT.replace("llama:", "1e3:")).families) == ["1e3"]
    assert list(read(TEXT.replace("llama:", '"1e3":')).families) == ["1e3"]
    hub = "{kind: hub, path: /m, content: '1e3'}"
    study = read(TEXT.replace("{kind: nano, init_seed: 1}", hub).replace("[owl, cat]", "[owl, '2e5', e3, 1e, 1e3e]"))
    assert list(study.targets) == ["owl", "2e5", "e3", "1e", "1e3e"]
    with pytest.raises(StudyError, match=r"5: traits.0.targets.0: .*string: put it into quotes \(given: 1000.0\)"):
        read(TEXT.replace("[owl, cat]", "[1e3, cat]"))
    with pytest.raises(StudyError, match=r"10: students.learning_rate: .*\(given: '1e-3'\)"):
        read(TEXT + "students: {learning_rate: '1e-3'}\n")


DIGITS = "9" * 10_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "said"),
    [
        (f"seed={DIGITS}", "is not a plain YAML value"),
        (f"seed=0x{DIGITS}", "a number of more than 64 bits"),
        ("seed=9223372036854775808", "a number of more than 64 bits"),
        (f"traits.{DIGITS}.targets=[owl]", "is no index of a list of 1"),
        ("traits.99999999999.targets=[owl]", "99999999999 is no index of a list of 1"),
        ("traits.99999999999=[owl]", "99999999999 is no index of a list of 1"),
        (f"{DIGITS}=1", "unknown setting"),
        (f"seed=[{DIGITS}", "is not a plain YAML value"),
        ("seed=" + "[" * 1500, "nested too deeply"),
        ("seed=!!bool x", "is not a plain YAML value"),
        ("seed=!!timestamp x", "is not a plain YAML value"),
        ("seed=!!int ''", "is not a plain YAML value"),
        ("seed=!!float x", "is not a plain YAML value"),
        ("seed=2024-01-01", "seed: "),
        ("seed=x" + "y" * 10_000, "seed: "),
        ("seed=\x1b[2J", r"\x1b"),
        ("completions.rows=1000000000000000", "1,000,000,000,000 shards per teacher"),
        ("study=[/b]", "study: "),
    ],
)
def test_an_override_of_any_size_is_refused_in_a_short_message(
    read: Callable[..., Study], override: str, said: str
) -> None:
    with pytest.raises(StudyError) as error:
        read(TEXT, override)
    assert said in str(error.value)
    assert len(str(error.value)) < 1000
    assert "\x1b" not in str(error.value)


def test_aliases_count_as_often_as_they_stand(read: Callable[..., Study], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STUDY_VALUES", 50_000)
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 9))
    with pytest.raises(StudyError, match=r"study.yaml:\d+: more than 50,000 values"):
        read("l0: &l0 [a, a, a, a, a, a, a, a, a]\n" + levels + TEXT)


def test_a_study_file_has_a_size_that_it_may_have(read: Callable[..., Study]) -> None:
    assert read(TEXT + "#" * 500_000 + "\n").study == "small"
    with pytest.raises(StudyError, match="larger than the 1,048,576 bytes"):
        read(TEXT + "#" * (1 << 20) + "\n")
    with pytest.raises(StudyError, match="larger than"):
        load(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (f"students: {{seeds: {list(range(3_000))}}}", "seeds: List should have at most 1000 items"),
        (f"sweep: {{rank: {[*range(1, 201)]}, alpha: {[*range(1, 201)]}, epochs: {[*range(1, 201)]}}}", "8,000,001"),
        (f"sweep: {{rank: {[*range(1, 101)]}, rows: {[*range(1, 101)]}}}", "10,001 with all combinations"),
        (
            f"sweep: {{rank: {[*range(1, 100)]}, rows: {[*range(1, 100)]}}}\nstudents: {{seeds: {[*range(10)]}}}",
            "2,411,3",
        ),
    ],
)
def test_a_study_that_is_too_large_is_refused_with_its_size_before_it_is_laid_out(
    read: Callable[..., Study], more: str, said: str
) -> None:
    families = "families:\n  llama: {kind: nano, init_seed: 1}\n  qwen: {kind: nano, init_seed: 2}\n"
    text = TEXT.replace("families:\n  llama: {kind: nano, init_seed: 1}\n", families)
    with pytest.raises(StudyError) as error:
        read(text + more + "\n")
    assert said in str(error.value)
    assert len(str(error.value)) < 1000


def test_ten_thousand_traits_in_three_families_with_four_seeds_are_not_too_many(study: Callable[..., Study]) -> None:
    families = {name: {"kind": "nano", "init_seed": n} for n, name in enumerate("abc")}
    targets = [f"t{n}" for n in range(10_000)]
    made = study(families=families, traits=[{"targets": targets}], students={"seeds": [1, 2, 3, 4]})
    assert len(made.targets) == 10_000


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"- a\n- b\n", b"plain", b"\xff\xfe\x00", b"a: \x07b"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "study.yaml"
    file.write_bytes(content)
    with pytest.raises(StudyError, match=r"study\.yaml"):
        load(file)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(StudyError, match="cannot read the study file"):
            load(path)


def test_all_mistakes_are_told_at_once(read: Callable[..., Study]) -> None:
    with pytest.raises(StudyError) as error:
        read(TEXT + "seed: x\ncolour: red\n")
    assert len(str(error.value).splitlines()) == 2


def test_a_study_written_as_yaml_reads_as_itself(read: Callable[..., Study]) -> None:
    study = read()
    assert read(yaml.safe_dump(study.model_dump())) == study


YAML_LIKE = st.text(st.sampled_from(list("aeo:-[]{}&*!?|>#'\",. \n01%@`\t\u00e9")), max_size=60)


@UNHURRIED
@given(st.one_of(YAML_LIKE, st.text(max_size=40)))
def test_any_text_is_a_study_or_a_study_error(read: Callable[..., Study], text: str) -> None:
    for whole in (text, TEXT + text):
        with contextlib.suppress(StudyError):
            assert isinstance(read(whole), Study)


@UNHURRIED
@given(
    st.lists(st.sampled_from(["students", "traits", "0", "9", "targets", "seed", "teachers", "method", "", "é"])),
    st.one_of(YAML_LIKE, st.text(max_size=20)),
)
def test_any_override_is_applied_or_a_study_error(read: Callable[..., Study], place: list[str], value: str) -> None:
    with contextlib.suppress(StudyError):
        assert isinstance(read(TEXT, f"{'.'.join(place)}={value}"), Study)


def test_a_key_that_was_pasted_where_its_variable_belongs_is_not_shown(read: Callable[..., Study]) -> None:
    key = "sk-1234-secret"
    judge = f"judges: {{j: {{kind: openai, url: http://judge, model: m, key_variable: {key}}}}}\n"
    with pytest.raises(StudyError, match=r"judges\.j\.key_variable") as told:
        read(TEXT + judge)
    assert key not in str(told.value)
