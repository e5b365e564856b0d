"""Lays out a study: all its steps and their inputs. Pure: nothing here accesses a store."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from pipeline.channels import Channel
from pipeline.core.errors import StudyError
from pipeline.core.reasons import REFUSALS
from pipeline.stages import (
    answers,
    base,
    completions,
    corpus,
    dataset,
    gate,
    judgements,
    ratings,
    report,
    require_short,
    stage_of,
    transfer,
)
from pipeline.stages import student as students
from pipeline.stages import teacher as teachers
from pipeline.store.step import KINDS, Json, Step, dependents, identity
from pipeline.study.arms import Arm
from pipeline.study.schema import Study
from pipeline.suites import Suite
from pipeline.traits import NEUTRAL, RANDOM


class TeacherKey(NamedTuple):
    """A teacher by family and target (None: neutral), or the random generator."""

    family: str
    target: str | None

    @property
    def name(self) -> str:
        return RANDOM if self.family == RANDOM else f"{self.target or NEUTRAL}-{self.family}"


class CorpusKey(NamedTuple):
    """One corpus of a teacher. corpus: its number, from 1."""

    teacher: TeacherKey
    corpus: int


@dataclass(frozen=True)
class ChannelCompletions:
    """All completions in one channel. given: the channel's data set, as an input of its steps."""

    channel: Channel
    given: Mapping[str, str]
    by: Mapping[CorpusKey, Step]


def plan(study: Study, missing: Mapping[str, str] | None = None, notes: Mapping[str, str] | None = None) -> list[Step]:
    """Every step of a study, each after its inputs. Equal steps of two cells become one.

    missing: path of a step whose results are unavailable, or of a gate that refused its teacher -> reason code
    (pipeline.core.reasons). The last two steps, transfer and report, then omit those results and say so; they are other
    artifacts than the full ones. notes: path -> the reason in words, which enters no id.
    """
    planner = _Planner(study)
    planner.add_others()
    planner.finish(missing or {}, notes or {})
    steps = list(planner.steps.values())
    require_short(steps)
    return steps


def partial_report(
    study: Study,
    steps: Sequence[Step],
    done: Collection[str],
    reasons: Mapping[str, str],
    notes: Mapping[str, str] | None = None,
) -> list[Step]:
    """Transfer and report without the unavailable results; empty if none is lost, or if all are.

    steps: the study's plan. done: paths of finished steps. reasons: path of a failed step, or of a gate that refused
    its teacher -> reason code. notes: path -> the reason in words.
    """
    matrix, page = steps[-2:]
    lost = dependents(steps, reasons) | dict(reasons)
    all_notes = dependents(steps, notes or {}) | dict(notes or {})
    runs = matrix.settings["runs"]
    answered = any(matrix.inputs[role] in done and matrix.inputs[role] not in lost for role in runs)
    beside = [path for path in page.inputs.values() if path != matrix.path]
    is_short = any(path in lost for path in (*matrix.inputs.values(), *matrix.after, *beside))
    return plan(study, lost, all_notes)[-2:] if is_short and answered else []


def needed_rows(steps: Sequence[Step]) -> dict[str, dict[int, Step]]:
    """Path of an artifact -> number of accepted rows that a later step needs of it -> one such step."""
    found: dict[str, dict[int, Step]] = {}
    for step in steps:
        for path, rows in stage_of(step.kind).rows_needed(step).items():
            found.setdefault(path, {})[rows] = step
    return found


class _Planner:
    """Plans a study's steps in order: teachers, their completions, then every arm's corpora and students."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self.steps: dict[str, Step] = {}
        self._runs: Json = {}  # role of a transfer input -> design of its run
        self._bases: Json = {}  # role of a transfer input -> suite and family of its base
        self._results: dict[str, str] = {}  # role -> path
        self._gates: dict[TeacherKey, Step] = {}
        self._same: dict[tuple[str, ...], Step] = {}  # (kind, slug, id) -> step, to share steps between arms
        self._base = {
            name: self._add(base.STAGE.planned(study, name)) for name in study.families if name in study.used_families
        }
        for name, suite in product(study.student_families, study.suites):
            self._ask_base(name, suite)
        made = {key: self._teacher(key) for key in self._teacher_keys()}
        for channel in (channel.absolute() for channel in study.channels):
            given = self._given(channel)
            by = {
                CorpusKey(key, number): self._completions(channel, key, number, teacher, given)
                for key, teacher in made.items()
                for number in range(1, self._corpora(key.target) + 1)
            }
            if study.teachers.random:
                for number in range(1, max(self._corpora(None), 1) + 1):
                    drawn = completions.STAGE.planned_random(study, channel, number)
                    by[CorpusKey(TeacherKey(RANDOM, None), number)] = self._add(drawn)
            for arm, source in product(study.all_arms, by):
                self._cells(ChannelCompletions(channel, given, by), arm, source)

    def _teacher_keys(self) -> list[TeacherKey]:
        targets = [*self._study.targets, *([None] if self._corpora(None) else [])]
        return [TeacherKey(family, target) for family, target in product(self._study.teacher_families, targets)]

    def _corpora(self, target: str | None) -> int:
        """How many corpora a teacher has; target None: the neutral one."""
        teachers = self._study.teachers
        return teachers.neutral_corpora if target is None else teachers.corpora

    def _given(self, channel: Channel) -> dict[str, str]:
        """The data set that a channel reads, as an input of its steps."""
        source = channel.source()
        if source is None:
            return {}
        return {dataset.ROLE: self._add(dataset.STAGE.planned(source, channel.kind, channel.COLUMNS)).path}

    def _teacher(self, key: TeacherKey) -> Step:
        study, start = self._study, self._base[key.family]
        rows = None if key.target is None else study.teachers.method.data_of(key.target)
        given = self._add(dataset.STAGE.planned(rows, str(key.target), dataset.CONVERSATION)) if rows else None
        made = self._add(teachers.STAGE.planned(study, key.name, key.target, start, given))
        if key.target is not None and study.trait_of(key.target).gated:
            self._gates[key] = self._gate(key.target, made, start)
        return made

    def _gate(self, target: str, teacher: Step, start: Step) -> Step:
        study, trait = self._study, self._study.trait_of(target).of(target)
        suite = study.gate_suite(trait)
        asked = [self._add(answers.STAGE.planned_for_gate(study, model, start, trait)) for model in (start, teacher)]
        before, after = (self._result(step, suite) for step in asked)
        return self._add(gate.STAGE.planned(study, trait, teacher, before, after))

    def _completions(
        self, channel: Channel, key: TeacherKey, number: int, teacher: Step, given: Mapping[str, str]
    ) -> Step:
        """A teacher's completions for one corpus; they wait for the teacher's gate, if it has one."""
        gate = self._gates.get(key)
        return self._add(completions.STAGE.planned(self._study, channel, number, teacher, given, gate))

    def _result(self, asked: Step, suite: Suite) -> Step:
        """The step with the scores of answers: the answers themselves, or their ratings by a judge."""
        rating = suite.rating()
        if rating is None:
            return asked
        return self._add(ratings.STAGE.planned(self._study, asked, rating, self._judge_base(rating.judge)))

    def _judge_base(self, judge: str) -> Step | None:
        """The base of a judge that an engine of the study serves."""
        family = self._study.judges[judge].served_by
        return None if family is None else self._base[family]

    def _cells(self, written: ChannelCompletions, arm: Arm, source: CorpusKey) -> None:
        """Add one arm's corpus of one teacher's completions, and its students or in-context readers."""
        study = self._study
        differs = bool(arm.transforms or arm.rows)
        rows = self._shared(self._corpus(written, arm, source), arm.name if differs else "")
        for family, seed in product(study.student_families_of(source.teacher.family), study.students.seeds):
            start = self._base[family]
            for suite in (suite for suite in study.suites if _is_asked(suite, arm)):
                if arm.in_context:
                    shown = answers.STAGE.planned_in_context(study, arm, start, rows, seed, suite)
                    reader = asked = self._shared(shown, arm.name)
                else:
                    student = students.STAGE.planned(study, arm, start, rows, seed)
                    reader = self._shared(student, arm.name if arm.recipe else "")
                    asked = answers.STAGE.planned(study, reader, start, suite)
                design = {
                    "channel": written.channel.kind,
                    "arm": arm.name,
                    "suite": suite.name,
                    "teacher_family": source.teacher.family,
                    "student_family": family,
                    "teacher_target": source.teacher.target,
                    "corpus": source.corpus,
                    "seed": seed,
                    "id": reader.id,
                }
                self._register(self._result(self._add(asked), suite), f"{arm.name}:{asked.slug}", design)

    def _corpus(self, written: ChannelCompletions, arm: Arm, own: CorpusKey) -> Step:
        others = {} if own.teacher.family == RANDOM else self._others(arm, own)
        more = dict(written.given)
        for name, source in {corpus.OWN_COMPLETIONS: own, **others}.items():
            more |= self._judgements(written, source, name)
        mixed = {name: written.by[source] for name, source in others.items()}
        return corpus.STAGE.planned(self._study, arm, written.channel, written.by[own], mixed, more)

    def _others(self, arm: Arm, own: CorpusKey) -> dict[str, CorpusKey]:
        """Name in the arm's mix -> completions of another teacher that the arm mixes in.

        Corpora of one teacher take turns with those of the other, so that they share as few rows as possible. Not used
        for random completions: they have no teacher, so `mix` does not apply to them.
        """
        found = {}
        for name in arm.shares:
            family, _, target = name.rpartition("/")
            other = TeacherKey(family or own.teacher.family, None if target == NEUTRAL else target)
            if other != own.teacher:
                found[name] = CorpusKey(other, (own.corpus - 1) % self._corpora(other.target) + 1)
        return found

    def _judgements(self, written: ChannelCompletions, own: CorpusKey, name: str) -> dict[str, str]:
        """Judgements of the completions with role `name` in a corpus, as inputs of it."""
        study, found = self._study, {}
        for number, rule in enumerate(study.corpus.judge_filters):
            if rule.rubric == "reference" and own.teacher.target is None:
                continue  # there is nothing to refer to
            start = self._judge_base(rule.judge)
            source = written.by[own]
            step = judgements.STAGE.planned(
                study, rule, written.channel, source, written.given, start, own.teacher.target
            )
            found[corpus.judgements_role(name, number)] = self._add(step).path
        return found

    def _ask_base(self, family: str, suite: Suite) -> None:
        asked = self._add(answers.STAGE.planned(self._study, self._base[family], self._base[family], suite))
        role = f"base:{asked.slug}"
        self._bases[role] = {"suite": suite.name, "family": family}
        self._results[role] = self._result(asked, suite).path

    def _register(self, asked: Step, role: str, design: Json) -> None:
        if self._runs.get(role, design) != design:
            raise StudyError(f"two students would both be named {asked.slug}: rename a target, a family or an arm")
        self._runs[role] = design
        self._results[role] = asked.path

    def _add(self, step: Step) -> Step:
        """Add a step unless it is planned already. Raises StudyError if another step has the same id."""
        found = self.steps.get(step.path)
        if found is None:
            inputs = {role: self.steps[path].identity for role, path in step.inputs.items()}
            found = self.steps[step.path] = replace(step, identity=identity(step, inputs))
        return _same(found, step)

    def _shared(self, step: Step, arm: str) -> Step:
        """Add a step that several arms may share; it is named for the first of them."""
        key = (step.kind, step.slug, step.id)
        if key not in self._same:
            self._same[key] = self._add(replace(step, slug=f"{step.slug}-{arm}") if arm else step)
        return _same(self._same[key], step)

    def add_others(self) -> None:
        """Add the steps of stages that plan their own."""
        for kind in KINDS:
            for step in stage_of(kind).steps(self._study, list(self.steps.values())):
                self._add(step)

    def finish(self, missing: Mapping[str, str], notes: Mapping[str, str]) -> None:
        """Add the last two steps, without the missing results."""
        study = self._study
        reasons = {key: missing.get(step.path, "") for key, step in self._gates.items()}
        spec = transfer.TransferSpec(
            runs=self._runs,
            bases=self._bases,
            missing={name: missing[path] for name, path in self._results.items() if path in missing},
            failed_gates=[
                transfer.FailedGate(family=key.family, target=str(key.target), reason=reason)
                for key, reason in reasons.items()
                if reason in REFUSALS
            ],
            targets=list(study.targets),
            arms=[arm.name for arm in study.all_arms],
            suites={suite.name: list(suite.METRICS) for suite in study.suites},
            outcomes={suite.name: list(suite.outcomes) for suite in study.suites if suite.outcomes},
            primary_suite=study.primary[0],
            primary_metric=study.primary[1],
            control_targets=[t for trait in study.behaviours if not trait.gated for t in trait.targets],
            drawn_from=study.drawn_from,
            measure=study.measure,
            seed=study.seed,
            smoke_test=study.smoke_test or study.is_fake,
        )
        present = {name: path for name, path in self._results.items() if path not in missing}
        matrix = transfer.STAGE.step(study.study, spec, present, after=[step.path for step in self._gates.values()])
        role_notes = {name: notes[path] for name, path in self._results.items() if path in notes}
        matrix = self._add(replace(matrix, notes=role_notes))
        measured = [step for key, step in self._gates.items() if reasons[key] in {"", *REFUSALS}]
        measured += [step for step in self.steps.values() if step.kind in report.MEASURED and step.path not in missing]
        self._add(report.STAGE.planned(study, matrix, {f"{step.kind}:{step.slug}": step.path for step in measured}))


def _same(planned: Step, step: Step) -> Step:
    """The planned step. Raises StudyError unless the other step, of the same id, equals it."""
    if planned.settings != step.settings or planned.inputs != step.inputs:
        raise StudyError(
            f"two different steps, {planned.path} and {step.path}, have the same id: change a setting of one of them"
        )
    return planned


def _is_asked(suite: Suite, arm: Arm) -> bool:
    """Whether an arm's models are asked a suite."""
    return suite.ALLOWS_IN_CONTEXT if arm.in_context else not suite.IN_CONTEXT_ONLY
