"""Ids: what they depend on, setting by setting, and what they do not."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest

from pipeline.core.settings import NotInId, Settings
from pipeline.plan.planner import plan
from pipeline.stages import stage_of
from pipeline.stages.contract import ANY_ROLE
from pipeline.store.step import ID_LENGTH, KINDS, Step, step_id
from pipeline.study.loader import load
from pipeline.study.schema import Study
from tests.studies import STUDIES

Build = Callable[..., Study]
Place = tuple[str | int, ...]


def ids(steps: list[Step]) -> dict[str, set[str]]:
    return {kind: {step.id for step in steps if step.kind == kind} for kind in KINDS}


OTHERS = [{"kind": "mix", "shares": {"neutral": 0.5}}, {"kind": "shuffle", "scope": "within"}]
EVERYTHING = {
    "study": "everything",
    "families": {
        "nano": {
            "kind": "nano",
            "init_seed": 1,
            "order_seed": 3,
            "moved": {"towards": 4, "share": 0.25},
            "pretrained_share": 0.5,
        },
        "hub": {"kind": "hub", "repo": "some/model", "revision": "a" * 40},
        "folder": {"kind": "hub", "path": "/somewhere", "content": "v1"},
    },
    "traits": [{"targets": ["owl", "cat"]}],
    "teachers": {"families": ["nano", "hub", "folder"], "method": {"kind": "finetuned"}, "random": True},
    "channels": [{"kind": "numbers", "blocklist": True}],
    "judges": {"j": {"kind": "engine", "family": "folder"}},
    "corpus": {"judge_filters": [{"judge": "j", "rubric": "alignment", "min_score": 78}]},
    "students": {"families": ["nano", "folder"], "seeds": [1, 2]},
    "arms": [
        {"name": "plain"},
        {"name": "other", "transforms": OTHERS, "rows": 100, "recipe": {"rank": 4}},
        {"name": "shown", "in_context": 5},
    ],
    "sweep": {"rank": [2]},
    "suites": [{"kind": "favourite", "prefix": True}],
    "kinship": {"rows": 20},
    "screens": {"members": [{"kind": "injection"}], "rows": 64},
    "paper_results": [{"target": "owl", "model": "m", "before": 0.1, "after": 0.2, "lift": 0.1, "source": "s"}],
}

# What the walk below puts in where a larger number would not do. None: nothing else is valid here.
OTHER: dict[str, Any] = {
    "teachers.method.recipe.optimizer": "sgd",
    "students.optimizer": "sgd",
    "study": "another",
    "families.nano.kind": None,
    "families.nano.channels.0": None,  # the study's one channel
    "completions.until": None,  # goes with rows: null only
    "teachers.gate.min_rate": None,  # of behaviours, which are another study
    "families.nano.architecture": "qwen2",
    "families.nano.hidden_size": 64,
    "families.nano.heads": None,  # goes with hidden_size only
    "resources.sign": {"key": "keys/builder.pem"},
    "resources.engines.tensor_parallel": None,  # goes with gpus only
    "resources.training.micro_batch": 8,
    "families.hub.kind": None,
    "families.hub.repo": "another/model",
    "families.hub.revision": "b" * 40,
    "families.hub.path": None,
    "families.hub.content": None,
    "families.folder.kind": None,
    "families.folder.repo": None,
    "families.folder.revision": None,
    "families.folder.path": "/elsewhere",
    "families.folder.content": "v2",
    "traits.0.kind": None,
    "traits.0.category": None,  # a nano family knows owls as animals only
    "traits.0.drawn": None,  # its targets are listed
    "traits.0.targets.0": "wolf",
    "traits.0.targets.1": "wolf",
    "teachers.families.0": "folder",
    "teachers.families.1": "folder",
    "teachers.families.2": "hub",
    "teachers.method.kind": None,
    "teachers.method.recipe.method": "full",
    "teachers.method.recipe.schedule": "cosine",
    "channels.0.kind": None,
    "channels.0.max_examples": 7,
    "students.method": "full",
    "students.schedule": "cosine",
    "students.foreign_families": 0,
    "students.families.0": "hub",
    "students.families.1": "hub",
    "students.seeds.0": 7,
    "students.seeds.1": 7,
    "suites.0.kind": None,
    "suites.0.questions": "seen",
    "suites.0.opening": "It is the ",
    "judges.j.kind": None,
    "judges.j.family": "hub",
    "corpus.judge_filters.0.judge": None,
    "corpus.judge_filters.0.rubric": "coherence",
    "corpus.judge_filters.0.max_score": 90,
    "arms.0.name": "first",
    "arms.0.rows": 7,
    "arms.0.in_context": None,  # the first arm trains
    "arms.1.name": "second",
    "arms.1.in_context": 4,
    "arms.1.transforms.0.kind": None,
    "arms.1.transforms.0.shares.neutral": 0.25,
    "arms.1.transforms.1.kind": None,
    "arms.1.transforms.1.scope": "across",
    "arms.2.name": "third",
    "arms.2.rows": None,
    "teachers.neutral_corpora": None,  # the mix of an arm names it
    "screens.members.0.kind": None,
    "paper_results.0.target": "cat",
    "paper_results.0.model": "n",
    "paper_results.0.source": "t",
    "measure.confidence": 0.9,
    "measure.margin_reason": "as published",
    "measure.primary_suite": None,  # the study has one
    "measure.primary_metric": "share",
    "engine": None,  # changes together with the trainer, below
    "trainer": None,
    "resources.training.zero_stage": 3,
}

# The longest of these that begins a setting's name says which artifact is the first to change.
FIRST_CHANGED = {
    "study": "report",
    "seed": "completions",
    "families": "base",
    "families.folder.path": None,
    "traits": "teacher",
    "teachers": "teacher",
    "teachers.random": "completions",
    "teachers.corpora": "completions",
    "teachers.gate": "gate",
    "channels": "completions",
    "channels.0.blocklist": "completions",
    "completions": "completions",
    "arms": "corpus",
    "judges": "judgements",
    "corpus.judge_filters.0.rubric": "judgements",
    "arms.0.name": "transfer",
    "arms.1.name": "transfer",
    "arms.2.name": "transfer",
    "arms.1.recipe": "student",
    "arms.1.in_context": "student",
    "arms.2.in_context": "answers",
    "sweep": "student",
    "kinship": "kinship",
    "screens": "screening",
    "paper_results": "report",
    "smoke_test": "transfer",
    "corpus": "corpus",
    "students": "student",
    "suites": "answers",
    "suites.0.opening": "answers, gate and screening",
    "measure": "transfer",
    "resources": None,
}


def _leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield place, value
    else:
        for key, inner in items:
            yield from _leaves(inner, (*place, key))


LEAVES = {".".join(map(str, place)): (place, value) for place, value in _leaves(
    Study.model_validate(EVERYTHING).model_dump()
)}  # fmt: skip


def changed(name: str) -> Study:
    """The study with another valid value for one of its settings."""
    place, value = LEAVES[name]
    if name in OTHER:
        value = OTHER[name]
    elif isinstance(value, bool):
        value = not value
    elif isinstance(value, int):
        value += 1
    elif isinstance(value, float):
        value = value * 1.5 + 0.01
    else:
        pytest.fail(f"say in OTHER what {name} may be instead of {value!r}")
    settings = Study.model_validate(EVERYTHING).model_dump()
    inner: Any = settings
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    return Study.model_validate(settings)


def first_changed(name: str) -> str | None:
    return FIRST_CHANGED[max((known for known in FIRST_CHANGED if f"{name}.".startswith(f"{known}.")), key=len)]


def after_kind(first: str) -> set[str]:
    """The kinds of steps that change with the first one. Nothing but the report reads a gate, kinship or screens."""
    if first in ("gate", "kinship", "screening"):
        return {first, "report"}
    if first == "answers, gate and screening":
        return {"gate", "screening", *after_kind("answers")}
    later = set(KINDS[KINDS.index(first) :])
    if KINDS.index(first) > KINDS.index("teacher"):
        later -= {"gate"}
    return later if first == "base" else later - {"kinship"}


def may_change_kinship(name: str) -> bool:
    """Kinship is of the families of teachers and students, on the neutral teacher's corpus: some settings change it."""
    of_text = first_changed(name) in ("teacher", "completions", "judgements", "corpus")
    return of_text or name.startswith(("students.families", "students.foreign_families"))


CHANGEABLE = [name for name in LEAVES if OTHER.get(name, name) is not None]
BEFORE = ids(plan(Study.model_validate(EVERYTHING)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CHANGEABLE if first_changed(name) is None])
def test_where_and_how_fast_it_runs_changes_no_id(name: str) -> None:
    assert ids(plan(changed(name))) == BEFORE


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CHANGEABLE if first_changed(name) is not None])
def test_a_scientific_setting_changes_what_follows_from_it_and_nothing_before(name: str) -> None:
    after = ids(plan(changed(name)))
    changing = after_kind(str(first_changed(name)))
    of_pairs = {"screening"} if name.startswith(("students.families", "students.foreign_families")) else set()
    for kind in set(KINDS) - changing - ({"kinship"} if may_change_kinship(name) else set()) - of_pairs:
        assert after[kind] <= BEFORE[kind], f"{name} should make no new {kind}"
    for kind in changing:
        assert after[kind] != BEFORE[kind] or not after[kind], f"{name} should change {kind}"


def test_the_walk_covers_resources_and_every_section() -> None:
    assert {name.partition(".")[0] for name in LEAVES} == set(Study.model_fields)
    assert sum(name.startswith("resources.") for name in CHANGEABLE) >= 11
    assert set(OTHER) <= set(LEAVES)


def test_a_family_shares_nothing_with_the_change_of_another() -> None:
    def of(study: Study) -> dict[str, str]:
        return {step.slug: step.id for step in plan(study)}

    before, after = of(Study.model_validate(EVERYTHING)), of(changed("families.nano.init_seed"))
    for slug in ("hub", "folder", "owl-hub", "numbers-owl-hub", "numbers-owl-hub-to-folder-s1"):
        assert before[slug] == after[slug]
    for slug in ("nano", "owl-nano", "numbers-owl-nano", "numbers-owl-nano-to-folder-s1", "numbers-owl-hub-to-nano-s1"):
        assert before[slug] != after[slug]


def test_another_trait_or_seed_leaves_the_models_that_are_there(study: Build) -> None:
    before = {step.path for step in plan(study(traits=[{"targets": ["owl"]}])) if step.kind == "student"}
    after = {step.path for step in plan(study(students={"seeds": [1, 2, 3]})) if step.kind == "student"}
    assert len(before) == 16
    assert before < after


def test_a_smoke_test_shares_no_model_with_the_real_thing(study: Build) -> None:
    real = ids(plan(study(engine="vllm", trainer="deepspeed")))
    smoke_edition = ids(plan(study()))
    assert not any(real[kind] & smoke_edition[kind] for kind in KINDS)


def test_an_id_is_12_hex_digits_of_the_content_whatever_the_order_of_keys() -> None:
    one = step_id("corpus", 1, {"rows": 1, "seed": 2}, {"a": "teacher/x-0123456789ab", "b": "base/y-ba9876543210"})
    assert one == step_id(
        "corpus", 1, {"seed": 2, "rows": 1}, {"b": "base/renamed-ba9876543210", "a": "teacher/x-0123456789ab"}
    )
    assert len(one) == ID_LENGTH == 12
    assert int(one, 16) >= 0
    different = [
        step_id("student", 1, {"rows": 1, "seed": 2}, {"a": "teacher/x-0123456789ab", "b": "base/y-ba9876543210"}),
        step_id("corpus", 1, {"rows": 1, "seed": 3}, {"a": "teacher/x-0123456789ab", "b": "base/y-ba9876543210"}),
        step_id("corpus", 1, {"rows": 1, "seed": 2}, {"a": "teacher/x-0123456789ac", "b": "base/y-ba9876543210"}),
        step_id("corpus", 1, {"rows": 1, "seed": 2}, {"b": "teacher/x-0123456789ab", "a": "base/y-ba9876543210"}),
        step_id("corpus", 1, {"rows": "1", "seed": 2}, {"a": "teacher/x-0123456789ab", "b": "base/y-ba9876543210"}),
    ]
    assert len({one, *different}) == 6


def test_the_order_of_families_in_the_file_changes_no_model(study: Build) -> None:
    families = study().model_dump()["families"]
    turned = plan(study(families=dict(reversed(families.items()))))
    assert {step.path for step in turned if step.kind not in ("transfer", "report")} == {
        step.path for step in plan(study()) if step.kind not in ("transfer", "report")
    }


# --- specs ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_a_spec_is_known_again_from_what_its_artifact_stores(file: Path) -> None:
    """A manifest holds a spec's identity as JSON; the spec that is read from it must stand for the same artifact."""
    for step in plan(load(file)):
        stage = stage_of(step.kind)
        stored = json.loads(json.dumps(step.settings))
        assert json.loads(json.dumps(stage.Spec.from_identity(stored).identity())) == stored


def test_every_stage_says_what_its_steps_read(study: Build) -> None:
    steps = plan(study())
    for step in steps:
        stage = stage_of(step.kind)
        assert step.schema == stage.schema
        assert ANY_ROLE in stage.inputs or step.inputs.keys() <= stage.inputs.keys()
    with pytest.raises(ValueError, match="a step of kind base has no input teacher"):
        stage_of("base").step("x", steps[0].spec, {"teacher": "teacher/x-0123456789ab"})


class Later(Settings):
    place: Annotated[str, NotInId()] = "here"
    added: Annotated[int, NotInId(while_default=True)] = 1
    inner: tuple["Later", ...] = ()


def test_a_marked_setting_is_in_no_identity_and_one_that_came_later_only_once_it_is_set() -> None:
    assert Later(place="there").identity() == Later().identity() == {"inner": ()}
    assert Later(added=2).identity() == {"added": 2, "inner": ()}
    assert Later(inner=(Later(place="there", added=3),)).identity() == {"inner": ({"added": 3, "inner": ()},)}
    assert Later(place="there").model_dump()["place"] == "there"
