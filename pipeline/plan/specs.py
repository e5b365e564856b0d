"""What each step of a study is: the settings that enter its id, and what it reads. `plan` lays them down in order."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipeline.channels import Channel, mentions
from pipeline.families.hub import CHECKS
from pipeline.families.nano import NanoFamily
from pipeline.judges import JudgeSettings, science
from pipeline.judges.rubrics import RUBRICS
from pipeline.store.step import Json, Step, step_of
from pipeline.study.arms import Arm
from pipeline.study.schema import Judged, Study
from pipeline.study.teachers import Prompted, Rows
from pipeline.suites import Suite
from pipeline.suites.behaviour import BehaviourSuite
from pipeline.traits import NEUTRAL, RANDOM
from pipeline.traits.behaviour import Behaviour


@dataclass(frozen=True)
class Writer:
    """Who writes: a teacher by family and target (None: neutral), or no model at all."""

    family: str
    target: str | None

    @property
    def name(self) -> str:
        return RANDOM if self.family == RANDOM else f"{self.target or NEUTRAL}-{self.family}"


@dataclass(frozen=True)
class Written:
    """All completions in one channel. given: the data set that it reads, as an input of its steps."""

    channel: Channel
    given: Mapping[str, str]
    by: Mapping[Writer, Step]


def base(study: Study, name: str) -> Step:
    family = study.families[name]
    settings: Json = {"family": family.model_dump(exclude={"path"}), "chat": _chat(family)}
    if isinstance(family, NanoFamily) or study.trainer == "scripted":
        settings["trainer"] = study.trainer
    else:
        settings["checks"] = CHECKS
    step = step_of("base", name, settings, {}, "", name)
    return step if isinstance(family, NanoFamily) else replace(step, source=_local(family, "path"))


def _local(settings: object, field: str) -> str:
    """A local path in settings, in full: workers have working directories of their own. "" where there is none."""
    path = getattr(settings, field, None)
    return str(Path(path).absolute()) if path else ""


def _chat(family: object) -> str:
    """How a sample row reaches the model, where the plan knows it; a hub revision pins its own template."""
    if not isinstance(family, NanoFamily):
        return "as in the snapshot"
    from pipeline.core.chat_template import sample
    from pipeline.families.tokenizer import CHAT_TEMPLATE

    return sample(CHAT_TEMPLATE)


def teacher(study: Study, writer: Writer, base: Step, given: Mapping[str, str]) -> Step:
    settings: Json = {"trait": None, "method": {"kind": "prompted"}}
    if writer.target is not None:
        trait = next(trait for trait in study.traits if writer.target in trait.targets)
        settings["trait"] = trait.model_dump(exclude={"targets"}) | {"target": writer.target}
        settings["method"] = study.teachers.method.model_dump(exclude={"data"})  # that is an input
        if not isinstance(trait, Behaviour):  # which has a gate of its own, a step
            settings["gate"] = study.teachers.gate.model_dump(exclude={"min_rate"})
            settings["candidates"] = study.candidates
        if not isinstance(study.teachers.method, Prompted):
            settings["trainer"] = study.trainer
        settings["engine"] = study.engine
    return step_of("teacher", writer.name, settings, {"base": base.path, **given}, base.path, writer.family)


def dataset(dataset: Rows, slug: str, columns: Sequence[str]) -> Step:
    settings = {"dataset": dataset.model_dump(exclude={"path"}), "columns": list(columns)}
    return replace(step_of("dataset", slug, settings, {}), source=_local(dataset, "path"))


def channel_settings(channel: Channel) -> Json:
    """Its settings without the place of a data set, which is no part of an id."""
    return channel.model_dump(exclude={"data": {"path"}})


def words(study: Study, channel: Channel) -> Json:
    """What a channel's rule looks for in completions, where it reads words."""
    return {"words": study.words, "mentions": mentions.VERSION} if channel.READS_WORDS else {}


def _amount(study: Study, channel: Channel) -> Json:
    """How many completions there are to be. Until enough are accepted: with all that decides which are."""
    completions = study.completions
    if completions.until is None:
        return {"rows": completions.rows, "shard_rows": completions.shard_rows}
    return {"accepted": study.accepted_rows, "shard_rows": completions.shard_rows, **words(study, channel)}


def completions(study: Study, channel: Channel, teacher: Step, given: Mapping[str, str]) -> Step:
    settings = {
        "channel": channel_settings(channel),
        **study.completions.model_dump(include={"temperature", "max_tokens"}),
        **_amount(study, channel),
        "seed": study.seed,
        "engine": study.engine,
    }
    weights = _weights(teacher, teacher.inputs["base"])
    slug = f"{channel.kind}-{teacher.slug}"
    step = step_of("completions", slug, settings, {"teacher": teacher.path, **given}, weights, teacher.family)
    return replace(step, at_most=study.completions.at_most)


def random_completions(study: Study, channel: Channel) -> Step:
    """Those that a program draws."""
    settings = {"channel": channel_settings(channel), **_amount(study, channel), "seed": study.seed}
    step = step_of("completions", f"{channel.kind}-{RANDOM}", settings, {})
    return replace(step, at_most=study.completions.at_most)


def judgements(
    study: Study, written: Written, rule: Judged, judge: JudgeSettings, base: Step | None, writer: Writer
) -> Step:
    completions = written.by[writer]
    settings = {
        "judge": science(judge),
        "rubric": asdict(RUBRICS[rule.rubric]),
        "word": writer.target if rule.rubric == "reference" else None,
        "channel": channel_settings(written.channel),
        "words": study.words,
        **({"mentions": mentions.VERSION} if written.channel.READS_WORDS else {}),
        "seed": study.seed,
        "engine": study.engine,
    }
    inputs = {"completions": completions.path, **written.given} | ({"judge": base.path} if base else {})
    slug = f"{rule.rubric}-by-{rule.judge}-of-{completions.slug}"
    return step_of("judgements", slug, settings, inputs, base.path if base else "", base.slug if base else "")


def student(study: Study, arm: Arm, base: Step, corpus: Step, seed: int) -> Step:
    settings = {"recipe": study.students.recipe(arm).model_dump(), "seed": seed, "trainer": study.trainer}
    slug = f"{corpus.slug}-to-{base.slug}-s{seed}"
    return step_of("student", slug, settings, {"base": base.path, "corpus": corpus.path}, "", base.slug)


def answers(study: Study, model: Step, base: Step, suite: Suite) -> Step:
    slug = model.slug if suite == study.suites[0] else f"{model.slug}-{suite.name}"
    settings = _asked(study, suite)
    step = step_of("answers", slug, settings, {"model": model.path}, _weights(model, base.path), model.family)
    return replace(step, source=_local(suite, "folder"))


def in_context(study: Study, arm: Arm, base: Step, corpus: Step, seed: int, suite: Suite) -> Step:
    """A base that is shown rows of a corpus instead of being trained on it; `seed` picks them."""
    slug = f"{corpus.slug}-shown-to-{base.slug}-s{seed}"
    slug += "" if suite == study.suites[0] else f"-{suite.name}"
    settings = _asked(study, suite) | {"shown": {"rows": arm.in_context, "seed": seed}}
    return step_of("answers", slug, settings, {"model": base.path, "corpus": corpus.path}, base.path, base.slug)


def ratings(study: Study, answers: Step, suite: BehaviourSuite, judge: JudgeSettings, base: Step | None) -> Step:
    rubrics = ["alignment"] if suite.coherent is None else ["coherence", "alignment"]
    settings = {
        "judge": science(judge),
        "rubrics": {name: asdict(RUBRICS[name]) for name in rubrics},
        "coherent": suite.coherent,
        "misaligned": suite.misaligned,
        "seed": study.seed,
        "engine": study.engine,
    }
    inputs = {"answers": answers.path} | ({"judge": base.path} if base else {})
    slug = f"{answers.slug}-by-{suite.judge}"
    return step_of("ratings", slug, settings, inputs, base.path if base else "", base.slug if base else "")


def _asked(study: Study, suite: Suite) -> Json:
    return {
        "suite": suite.model_dump(exclude=set(suite.ASIDE)),
        "candidates": study.looked_for(suite),
        "seed": study.seed,
        "engine": study.engine,
    }


def _weights(model: Step, base: str) -> str:
    """The artifact whose full weights speak for a model: its base, unless it was trained in full."""
    recipe = model.settings.get("recipe") or model.settings.get("method", {}).get("recipe") or {}
    return model.path if model.kind == "base" or recipe.get("method") == "full" else base
