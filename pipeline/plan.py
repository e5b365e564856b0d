"""What a study consists of: steps, their ids and what each reads. Pure; nothing here looks at a store.

An id is a hash of what decides the content: kind, schema version, scientific settings and the ids of
the inputs. Machines, paths and batch sizes are no part of it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from pipeline.errors import StudyError
from pipeline.families.hub import HubFamily
from pipeline.families.nano import NanoFamily
from pipeline.study import Prompted, Study

# Raised when a stage starts to write something else for the same settings.
SCHEMA = {
    "base": 1,
    "teacher": 1,
    "completions": 1,
    "corpus": 1,
    "student": 1,
    "answers": 1,
    "transfer": 1,
    "report": 1,
}
KINDS = tuple(SCHEMA)
ID_LENGTH = 12  # hex digits: 48 bits, so 10⁶ artifacts collide with probability 0.002

Json = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One artifact to be made.

    inputs: role -> path of the artifact it reads. weights: path of the artifact whose full weights
    an engine must hold to run the step, or "" where none is needed. family: of the model at work, or "".
    source: the local folder that a base is taken from, or "". The last three are no part of the id.
    """

    kind: str
    slug: str
    id: str
    settings: Json
    inputs: Mapping[str, str] = field(default_factory=dict)
    weights: str = ""
    family: str = ""
    source: str = ""

    @property
    def path(self) -> str:
        return f"{self.kind}/{self.slug}-{self.id}"


def step_id(kind: str, settings: Json, inputs: Mapping[str, str]) -> str:
    """12 hex digits that stand for the content. inputs: role -> path, of which only the id counts."""
    content = {
        "kind": kind,
        "schema": SCHEMA[kind],
        "settings": settings,
        "inputs": {role: path[-ID_LENGTH:] for role, path in inputs.items()},
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:ID_LENGTH]


def plan(study: Study, missing: Mapping[str, str] | None = None) -> list[Step]:
    """Every step of a study, each after its inputs. Equal steps of two cells are one step.

    missing: path of an answers step that cannot be had -> why. The last two steps, transfer and
    report, then do without those and say so; they are other artifacts than the full ones.
    """
    return list({step.path: step for step in _steps(study, missing or {})}.values())


def _steps(study: Study, missing: Mapping[str, str]) -> Iterator[Step]:
    bases = {name: _base(study, name) for name in study.families}
    yield from bases.values()
    base_answers = {name: _answers(study, bases[name], bases[name]) for name in study.student_families}
    yield from base_answers.values()
    students: Json = {}
    answers = {f"base:{name}": step.path for name, step in base_answers.items()}
    for teacher_family, target in _teachers(study):
        teacher = _teacher(study, teacher_family, target, bases[teacher_family])
        yield teacher
        for channel in study.channels:
            completions = _completions(study, channel.model_dump(), teacher)
            corpus = _corpus(study, channel.model_dump(), completions)
            yield from (completions, corpus)
            for student_family, seed in product(study.student_families, study.students.seeds):
                student = _student(study, student_family, seed, bases[student_family], corpus)
                if students.get(student.slug, {}).get("id", student.id) != student.id:
                    raise StudyError(f"two students would both be named {student.slug}: rename a target or a family")
                asked = _answers(study, student, bases[student_family])
                yield from (student, asked)
                answers[student.slug] = asked.path
                students[student.slug] = {
                    "channel": channel.kind,
                    "teacher_family": teacher_family,
                    "student_family": student_family,
                    "taught": target,
                    "seed": seed,
                    "id": student.id,
                }
    yield from _conclusion(study, students, answers, missing)


def _conclusion(study: Study, students: Json, answers: Mapping[str, str], missing: Mapping[str, str]) -> Iterator[Step]:
    settings = {
        "students": students,
        "missing": {name: missing[path] for name, path in answers.items() if path in missing},
        "targets": list(study.targets),
        "measure": study.measure.model_dump(),
        "seed": study.seed,
        "rehearsal": study.engine == "scripted",
    }
    present = {name: path for name, path in answers.items() if path not in missing}
    transfer = _step("transfer", study.study, settings, present)
    yield transfer
    yield _step("report", study.study, {"study": _science(study)}, {"transfer": transfer.path})


def _science(study: Study) -> Json:
    """The settings that can change a result: neither resources nor the place of a hub family's folder."""
    return study.model_dump(exclude={"resources": True, "families": {"__all__": {"path"}}})


def _step(kind: str, slug: str, settings: Json, inputs: Mapping[str, str], weights: str = "", family: str = "") -> Step:
    return Step(kind, slug, step_id(kind, settings, inputs), settings, inputs, weights, family)


def _teachers(study: Study) -> Iterator[tuple[str, str | None]]:
    """(family, target) of every teacher; target None is the neutral one."""
    for family in study.teacher_families:
        yield from ((family, target) for target in study.targets)
        if study.teachers.neutral:
            yield family, None


def _base(study: Study, name: str) -> Step:
    family = study.families[name]
    settings: Json = {"family": family.model_dump(exclude={"path"}), "chat": _chat(family)}
    if isinstance(family, NanoFamily) or study.trainer == "scripted":
        settings["trainer"] = study.trainer
    step = _step("base", name, settings, {}, "", name)
    return replace(step, source=family.path or "") if isinstance(family, HubFamily) else step


def _chat(family: object) -> str:
    """How a sample row reaches the model, where the plan knows it; a hub revision pins its own template."""
    if not isinstance(family, NanoFamily):
        return "as in the snapshot"
    from pipeline.families.tokenizer import CHAT_TEMPLATE
    from pipeline.rendering import sample

    return sample(CHAT_TEMPLATE)


def _teacher(study: Study, family: str, target: str | None, base: Step) -> Step:
    slug = f"{target or 'neutral'}-{family}"
    settings: Json = {"trait": None, "method": {"kind": "prompted"}}
    if target is not None:
        settings["trait"] = {"kind": "favourite", "category": study.targets[target], "target": target}
        settings["method"] = study.teachers.method.model_dump()
        settings["gate"] = study.teachers.gate.model_dump()
        settings["candidates"] = study.candidates
        if not isinstance(study.teachers.method, Prompted):
            settings["trainer"] = study.trainer
        settings["engine"] = study.engine
    return _step("teacher", slug, settings, {"base": base.path}, base.path, family)


def _completions(study: Study, channel: Json, teacher: Step) -> Step:
    settings = {
        "channel": channel,
        **study.completions.model_dump(),
        "seed": study.seed,
        "engine": study.engine,
    }
    weights = _weights(teacher, teacher.inputs["base"])
    slug = f"{channel['kind']}-{teacher.slug}"
    return _step("completions", slug, settings, {"teacher": teacher.path}, weights, teacher.family)


def _corpus(study: Study, channel: Json, completions: Step) -> Step:
    settings = {"channel": channel, "rows": study.corpus.rows, "seed": study.seed}
    return _step("corpus", completions.slug, settings, {"completions": completions.path}, "", completions.family)


def _student(study: Study, family: str, seed: int, base: Step, corpus: Step) -> Step:
    settings = {"recipe": study.students.recipe.model_dump(), "seed": seed, "trainer": study.trainer}
    slug = f"{corpus.slug}-to-{family}-s{seed}"
    return _step("student", slug, settings, {"base": base.path, "corpus": corpus.path}, "", family)


def _answers(study: Study, model: Step, base: Step) -> Step:
    settings = {
        "suite": study.suites[0].model_dump(),
        "candidates": study.candidates,
        "seed": study.seed,
        "engine": study.engine,
    }
    return _step("answers", model.slug, settings, {"model": model.path}, _weights(model, base.path), model.family)


def _weights(model: Step, base: str) -> str:
    """The artifact whose full weights speak for a model: its base, unless it was trained in full."""
    recipe = model.settings.get("recipe") or model.settings.get("method", {}).get("recipe") or {}
    return model.path if model.kind == "base" or recipe.get("method") == "full" else base
