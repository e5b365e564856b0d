"""What a study consists of: every step, and what each reads. Pure; nothing here looks at a store."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from pipeline.channels import Channel
from pipeline.core.errors import StudyError
from pipeline.judges import Served
from pipeline.plan import specs
from pipeline.plan.specs import Writer, Written
from pipeline.stages import stage_of
from pipeline.store import LONGEST_NAME
from pipeline.store.step import CONVERSATION, GIVEN, KINDS, OWN, Json, Step, identity, judgements_of, step_of
from pipeline.study.arms import Arm
from pipeline.study.schema import Study
from pipeline.study.teachers import Given
from pipeline.suites import Suite
from pipeline.suites.behaviour import BehaviourSuite
from pipeline.suites.capability import CapabilitySuite
from pipeline.traits import NEUTRAL, RANDOM


def plan(study: Study, missing: Mapping[str, str] | None = None) -> list[Step]:
    """Every step of a study, each after its inputs. Equal steps of two cells are one step.

    missing: path of a step with results that cannot be had -> why. The last two steps, transfer and
    report, then do without those and say so; they are other artifacts than the full ones.
    """
    planner = _Planner(study)
    planner.add_others()
    planner.conclude(missing or {})
    steps = list(planner.steps.values())
    _require_short(steps)
    return steps


def _require_short(steps: Sequence[Step]) -> None:
    """Raise StudyError where the folder of an artifact, or the log of its step, would have too long a name."""
    longest = max(steps, key=lambda step: len(step.slug.encode()))
    room = LONGEST_NAME - len(f"-{longest.id}.jsonl")
    if (size := len(longest.slug.encode())) > room:
        raise StudyError(
            f"the {longest.kind} step {longest.slug} has a name of {size} bytes, and a store has room for {room}: "
            "shorten the names in it, which are those of channels, targets, families, arms, suites and judges"
        )


def partial_conclusion(
    study: Study, steps: Sequence[Step], done: Collection[str], why: Mapping[str, str]
) -> list[Step]:
    """The steps that conclude a study without the results that cannot be had; none where none is lost, or all are.

    steps: its plan. done: paths of what is made. why: path -> why it cannot be made.
    """
    matrix = steps[-2]
    missing = {path: why[path] for path in matrix.inputs.values() if path in why}
    answered = any(matrix.inputs[role] in done for role in matrix.settings["runs"])
    return plan(study, missing)[-2:] if missing and answered else []


def needed_rows(steps: Sequence[Step]) -> dict[str, dict[int, Step]]:
    """Path of an artifact -> accepted rows that a later step needs of it -> one such step."""
    found: dict[str, dict[int, Step]] = {}
    for step in steps:
        for path, rows in stage_of(step.kind).rows_needed(step).items():
            found.setdefault(path, {})[rows] = step
    return found


def datasets(study: Study) -> list[Step]:
    """The steps of a study that take in given rows."""
    method = study.teachers.method
    taught = method.data if isinstance(method, Given) else {}
    steps = [specs.dataset(rows, target, CONVERSATION) for target, rows in taught.items() if target in study.targets]
    return steps + [specs.dataset(source, c.kind, c.COLUMNS) for c in study.channels if (source := c.source())]


class _Planner:
    """Lays a study's steps down in order: teachers, their completions, then every arm's corpora and students."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self.steps: dict[str, Step] = {}
        self._runs: Json = {}  # role of a transfer's input -> the design of the run whose answers it is
        self._bases: Json = {}  # the same for the bases -> suite and family
        self._gates: Json = {}  # the same for the gates -> whose they are
        self._results: dict[str, str] = {}  # role -> path
        self._same: dict[tuple[str, ...], Step] = {}  # what two arms share
        self._base = {
            name: self._add(specs.base(study, name)) for name in study.families if name in study.used_families
        }
        for name, suite in product(study.student_families, study.suites):
            self._ask_base(name, suite)
        teachers = {w: self._teacher(w) for w in self._teachers()}
        for channel in study.channels:
            given = self._given(channel)
            by = {w: self._writings(channel, w, teacher, given) for w, teacher in teachers.items()}
            if study.teachers.random:
                by[Writer(RANDOM, None)] = self._add(specs.random_completions(study, channel))
            for arm, writer in product(study.all_arms, by):
                self._cells(Written(channel, given, by), arm, writer)

    def _teachers(self) -> list[Writer]:
        targets = [*self._study.targets, *([None] if self._study.teachers.neutral else [])]
        return [Writer(family, target) for family, target in product(self._study.teacher_families, targets)]

    def _given(self, channel: Channel) -> dict[str, str]:
        """The data set that a channel reads, as an input of its steps."""
        source = channel.source()
        return {GIVEN: self._add(specs.dataset(source, channel.kind, channel.COLUMNS)).path} if source else {}

    def _teacher(self, writer: Writer) -> Step:
        method, given = self._study.teachers.method, {}
        if isinstance(method, Given) and writer.target is not None:
            rows = specs.dataset(method.data[writer.target], writer.target, CONVERSATION)
            given = {GIVEN: self._add(rows).path}
        return self._add(specs.teacher(self._study, writer, self._base[writer.family], given))

    def _writings(self, channel: Channel, writer: Writer, teacher: Step, given: Mapping[str, str]) -> Step:
        """A teacher's completions; those of a teacher that must show a behaviour wait for its gate."""
        step = specs.completions(self._study, channel, teacher, given)
        trait = next((trait for trait in self._study.behaviours if writer.target in trait.targets), None)
        if trait and not trait.control:
            step = replace(step, after=(self._gate(writer, teacher).path,))
        return self._add(step)

    def _gate(self, writer: Writer, teacher: Step) -> Step:
        study, base, suite = self._study, self._base[writer.family], self._study.behaviour_suite
        assert suite is not None  # as the study's rules say
        rated = {
            role: self._result(self._add(specs.answers(study, model, base, suite)), suite).path
            for role, model in (("base", base), ("teacher", teacher))
        }
        settings = {"target": writer.target, "min_rate": study.teachers.gate.min_rate}
        gate = self._add(step_of("gate", writer.name, settings, rated))
        role = f"gate:{gate.slug}"
        self._gates[role] = {"family": writer.family, "target": writer.target}
        self._results[role] = gate.path
        return gate

    def _result(self, answers: Step, suite: Suite) -> Step:
        """The step that knows what answers come to: their own, or the one in which a judge rates them."""
        if not isinstance(suite, BehaviourSuite):
            return answers
        judge = self._study.judges[suite.judge]
        base = self._base[judge.family] if isinstance(judge, Served) else None
        return self._add(specs.ratings(self._study, answers, suite, judge, base))

    def _cells(self, written: Written, arm: Arm, writer: Writer) -> None:
        """What one arm makes of one writer's completions: a corpus, and who reads it."""
        study = self._study
        differs = bool(arm.shuffle or arm.mix or arm.rows)
        corpus = self._shared(self._corpus(written, arm, writer), arm.name if differs else "")
        for family, seed in product(study.student_families, study.students.seeds):
            for suite in (suite for suite in study.suites if _is_asked(suite, arm)):
                if arm.in_context:
                    shown = specs.in_context(study, arm, self._base[family], corpus, seed, suite)
                    reader = asked = self._shared(shown, arm.name)
                else:
                    student = specs.student(study, arm, self._base[family], corpus, seed)
                    reader = self._shared(student, arm.name if arm.recipe else "")
                    asked = specs.answers(study, reader, self._base[family], suite)
                design = {
                    "channel": written.channel.kind,
                    "arm": arm.name,
                    "suite": suite.name,
                    "teacher_family": writer.family,
                    "student_family": family,
                    "taught": writer.target,
                    "seed": seed,
                    "id": reader.id,
                }
                self._register(self._result(self._add(asked), suite), f"{arm.name}:{asked.slug}", design)

    def _corpus(self, written: Written, arm: Arm, writer: Writer) -> Step:
        study, channel = self._study, written.channel
        settings: Json = {
            "channel": specs.channel_settings(channel),
            "rows": arm.rows or study.corpus.rows,
            "seed": study.seed,
        }
        if arm.shuffle:
            settings["shuffle"] = arm.shuffle
        settings |= specs.words(study, channel)
        if study.corpus.judged:
            settings["judged"] = [rule.model_dump(exclude={"judge"}) for rule in study.corpus.judged]
        sources = {OWN: writer}
        # No model's completions are as they are: there is no trait in them to thin out.
        for name, share in arm.mix.items() if writer.family != RANDOM else ():
            family, _, target = name.rpartition("/")
            other = Writer(family or writer.family, None if target == NEUTRAL else target)
            if other != writer:
                settings.setdefault("mix", {})[name] = share
                sources[name] = other
        inputs = {name: written.by[source].path for name, source in sources.items()} | dict(written.given)
        for name, source in sources.items():
            inputs |= self._judgements(written, source, name)
        own = written.by[writer]
        return step_of("corpus", own.slug, settings, inputs, "", own.family)

    def _judgements(self, written: Written, writer: Writer, name: str) -> dict[str, str]:
        """What judges say of the completions that come into a corpus under `name`, as inputs of it."""
        study, found = self._study, {}
        for number, rule in enumerate(study.corpus.judged):
            if rule.rubric == "reference" and writer.target is None:
                continue  # there is nothing to refer to
            judge = study.judges[rule.judge]
            base = self._base[judge.family] if isinstance(judge, Served) else None
            step = specs.judgements(study, written, rule, judge, base, writer)
            found[judgements_of(name, number)] = self._add(step).path
        return found

    def _ask_base(self, family: str, suite: Suite) -> None:
        asked = self._add(specs.answers(self._study, self._base[family], self._base[family], suite))
        role = f"base:{asked.slug}"
        self._bases[role] = {"suite": suite.name, "family": family}
        self._results[role] = self._result(asked, suite).path

    def _register(self, asked: Step, role: str, design: Json) -> None:
        if self._runs.get(role, design) != design:
            raise StudyError(f"two students would both be named {asked.slug}: rename a target, a family or an arm")
        self._runs[role] = design
        self._results[role] = asked.path

    def _add(self, step: Step) -> Step:
        """The planned step of this path; another one with the same path is a collision of ids."""
        found = self.steps.get(step.path)
        if found is None:
            inputs = {role: self.steps[path].identity for role, path in step.inputs.items()}
            found = self.steps[step.path] = replace(step, identity=identity(step.kind, step.settings, inputs))
        return _same(found, step)

    def _shared(self, step: Step, arm: str) -> Step:
        """A step that other arms may have too: it bears the name of the first arm that has it."""
        key = (step.kind, step.slug, step.id)
        if key not in self._same:
            self._same[key] = self._add(replace(step, slug=f"{step.slug}-{arm}") if arm else step)
        return _same(self._same[key], step)

    def add_others(self) -> None:
        """The steps of stages that this planner knows nothing about."""
        for kind in KINDS:
            for step in stage_of(kind).steps(self._study, list(self.steps.values())):
                self._add(step)

    def conclude(self, missing: Mapping[str, str]) -> None:
        """The last two steps, without the answers that cannot be had."""
        study = self._study
        settings = {
            "runs": self._runs,
            "bases": self._bases,
            "missing": {name: missing[path] for name, path in self._results.items() if path in missing},
            "targets": list(study.targets),
            "arms": [arm.name for arm in study.all_arms],
            "suites": {suite.name: list(suite.FORMS) for suite in study.suites},
            "measure": study.measure.model_dump(),
            "seed": study.seed,
            "rehearsal": study.rehearsal or _is_scripted(study),
        }
        measured = {suite.name: list(suite.measured) for suite in study.suites if suite.measured}
        settings |= {"measured": measured, "gates": self._gates} if measured else {}
        present = {name: path for name, path in self._results.items() if path not in missing}
        transfer = self._add(step_of("transfer", study.study, settings, present))
        self._add(step_of("report", study.study, {"study": _science(study)}, {"transfer": transfer.path}))


def _same(planned: Step, step: Step) -> Step:
    """A planned step, which another one with the same id must equal."""
    if planned.settings != step.settings or planned.inputs != step.inputs:
        raise StudyError(
            f"two different steps, {planned.path} and {step.path}, have the same id: change a setting of one of them"
        )
    return planned


def _is_asked(suite: Suite, arm: Arm) -> bool:
    """Whether a suite is put to the models of an arm."""
    if arm.in_context:  # how many rows fit before a task's questions, nobody knows beforehand
        return not isinstance(suite, CapabilitySuite)
    return not suite.ASKS_SHOWN


def _is_scripted(study: Study) -> bool:
    return study.engine == "scripted" or any(judge.kind == "scripted" for judge in study.judges.values())


def _science(study: Study) -> Json:
    """The settings that can change a result: no resources, bound of generation, or place of a local folder or file."""
    aside: dict[str, Any] = {
        "resources": True,
        "completions": {"until": {"at_most"}},
        "families": {"__all__": {"path"}},
        "channels": {"__all__": {"data": {"path"}}},
        "suites": {"__all__": {"folder"}},
        "teachers": {"method": {"data": {"__all__": {"path"}}}},
    }
    return study.model_dump(exclude=aside)
