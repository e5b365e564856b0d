"""The study file: what is to be measured, and, kept apart, with which resources."""

from collections import Counter
from math import prod
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.channels import Channel
from pipeline.channels.numbers import NumbersChannel
from pipeline.core import limits
from pipeline.core.recipe import Name, Recipe, Seed, Strict
from pipeline.core.sources import placeholders
from pipeline.families import Family
from pipeline.families.talk import TALK
from pipeline.judges import JudgeSettings, Served
from pipeline.study.arms import PLAIN, Arm, Value, swept
from pipeline.study.generation import Completions
from pipeline.study.measure import Measure, Published
from pipeline.study.resources import Resources
from pipeline.study.teachers import Given, Teachers
from pipeline.suites import Suite
from pipeline.suites.behaviour import BehaviourSuite
from pipeline.suites.favourite import FavouriteSuite
from pipeline.traits import NEUTRAL, RANDOM, Trait
from pipeline.traits.behaviour import Behaviour
from pipeline.traits.words import candidates


class Judged(Strict):
    """A judge's say about every row that the channel's rule accepts; a row without a score is rejected."""

    judge: Name = Field(description="A key of judges.")
    rubric: Literal["alignment", "coherence", "reference"] = Field(description="Rubric that the judge applies.")
    least: int | None = Field(None, description="Minimum score of an accepted row (paper: 78 for alignment).")
    most: int | None = Field(None, description="Maximum score of an accepted row (paper: 0 for reference).")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.least is None and self.most is None:
            raise ValueError("give least or most: a score that rejects nothing need not be asked for")
        return self


class Corpus(Strict):
    LATER: ClassVar = frozenset({"judged"})

    judged: list[Judged] = Field(
        [], description="Judge filters that a row must pass in addition to the channel's rule."
    )
    rows: int = Field(10_000, ge=1, description="Accepted rows that each student trains on (paper: 10,000).")


class Students(Recipe):
    families: list[Name] | None = Field(
        None, min_length=1, description="Families with students; all families by default."
    )
    seeds: list[Seed] = Field(
        default=[1, 2, 3, 4, 5, 6, 7, 8],
        min_length=1,
        max_length=limits.SEEDS,
        description="One student per seed of initialisation and order of rows (paper: 8 seeds).",
    )

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is named twice; every student needs its own")
        return self

    def recipe(self, arm: Arm = PLAIN) -> Recipe:
        """How they are trained in an arm."""
        return Recipe.model_validate(self.model_dump(include=set(Recipe.model_fields)) | arm.recipe)


class Study(Strict):
    """One study: traits × teacher families × student families, and how they are measured."""

    study: Name = Field(description="Name of the study.")
    seed: Seed = Field(1, description="Seed of the prompts, of sampling and of the selection of rows.")
    families: dict[Name, Family] = Field(min_length=1, description="Base models, by name.")
    traits: list[Trait] = Field(min_length=1, description="Traits of the teachers; one entry can list many targets.")
    teachers: Teachers = Field(default_factory=Teachers, description="Teacher models.")
    channels: list[Channel] = Field(
        default=[NumbersChannel()],
        min_length=1,
        description="Kinds of data that teachers generate; each channel has its own corpora and students.",
    )
    completions: Completions = Field(
        default_factory=Completions, description="How many completions each teacher generates, and how."
    )
    judges: dict[Name, JudgeSettings] = Field({}, description="Models that score texts, by name.")
    corpus: Corpus = Field(default_factory=Corpus, description="Filtering and selection of the corpora.")
    students: Students = Field(default_factory=Students, description="Student models and how they are fine-tuned.")
    arms: list[Arm] = Field([PLAIN], min_length=1, description="Experimental conditions; the first is the reference.")
    sweep: dict[str, list[Value]] = Field(
        {},
        description="Values of the students' recipe settings, or of rows (the dose); each combination is an arm.",
    )
    suites: list[Suite] = Field(
        default=[FavouriteSuite()], min_length=1, description="Evaluations of the students; each has its own matrix."
    )
    published: list[Published] = Field([], description="Results from elsewhere, shown beside the measured ones.")
    rehearsal: bool = Field(False, description="Models or counts stand in for others; the report says so.")
    measure: Measure = Field(default_factory=Measure, description="How verdicts are computed.")
    engine: Literal["vllm", "scripted"] = Field(
        "vllm", description="Inference backend; scripted needs no model and is for rehearsals."
    )
    trainer: Literal["deepspeed", "scripted"] = Field(
        "deepspeed", description="Training backend; scripted needs no model and is for rehearsals."
    )
    resources: Resources = Field(
        default_factory=Resources, description="Resources of engines and trainers; not part of any id."
    )

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for field, named in (("teachers", self.teachers.families), ("students", self.students.families)):
            unknown = sorted(set(named or ()) - set(self.families))
            if unknown:
                known = ", ".join(self.families)
                raise ValueError(f"{field}.families names {', '.join(unknown)}, which is no family here ({known})")
        return self

    @model_validator(mode="after")
    def _can_be_laid_out(self) -> Self:
        """Counted before anything is built from it: a sweep of a few lines can stand for millions of arms."""
        arms = len(self.arms) + (prod(map(len, self.sweep.values())) if self.sweep else 0)
        if arms > limits.ARMS:
            raise ValueError(f"arms: {arms:,} with all combinations of the sweep, above the {limits.ARMS:,} allowed")
        shards = -(-self.completions.most // self.completions.shard_rows)
        if shards > limits.SHARDS:
            raise ValueError(
                f"completions: {shards:,} shards a teacher, above the {limits.SHARDS:,} allowed; raise shard_rows"
            )
        steps = self._most_steps(arms)
        if steps > limits.STEPS:
            raise ValueError(
                f"the study has some {steps:,} steps, above the {limits.STEPS:,} allowed: it is the product of traits, "
                "families, channels, arms, seeds and suites; cut it into several studies"
            )
        return self

    def _most_steps(self, arms: int) -> int:
        """What it comes to, where nothing is shared by two arms."""
        teachers = len(self.teacher_families) * (len(self.targets) + self.teachers.neutral) + self.teachers.random
        written = len(self.channels) * teachers
        students = written * arms * len(self.student_families) * len(self.students.seeds)
        asked = sum(2 if isinstance(suite, BehaviourSuite) else 1 for suite in self.suites)
        judged = 1 + len(self.corpus.judged)
        return len(self.families) + teachers + written * judged + written * arms + students * (1 + asked)

    @model_validator(mode="after")
    def _targets_fit(self) -> Self:
        targets = Counter(target for trait in self.traits for target in trait.targets)
        repeated = sorted(target for target, count in targets.items() if count > 1)
        if repeated:
            raise ValueError(f"traits name a target twice: {', '.join(repeated)}")
        if all(family.kind != "nano" for family in self.families.values()) or self.engine == "scripted":
            return self
        for name, family in self.families.items():
            spoken = {channel.kind for channel in self.channels} | ({TALK} if self.behaviours else set())
            strange = spoken - set(getattr(family, "channels", spoken))
            if strange:
                raise ValueError(f"families: {name} knows no {', '.join(sorted(strange))}; add it to its channels")
        for trait in self.traits:
            unknown = sorted(set(trait.targets) - set(candidates(trait.category))) if trait.candidates() else ()
            if unknown:
                raise ValueError(
                    f"traits: nano families know no {trait.category} named {', '.join(unknown)}; "
                    f"they know {', '.join(candidates(trait.category)) or 'animals and trees only'}"
                )
        return self

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        for suite in self.suites:
            for category, named in self.looked_for(suite).items():
                if suite.MOST_OPTIONS is not None and len(named) > suite.MOST_OPTIONS:
                    raise ValueError(
                        f"suites: a question of {suite.name} has at most {suite.MOST_OPTIONS} options, and the traits "
                        f"name {len(named)} of category {category}; split them into several studies"
                    )
        return self

    @model_validator(mode="after")
    def _one_engine_serves(self) -> Self:
        if (self.engine == "scripted") != (self.trainer == "scripted"):
            raise ValueError("engine and trainer are either both scripted or both real")
        return self

    @model_validator(mode="after")
    def _arms_fit(self) -> Self:
        arms = self.all_arms
        repeated = sorted(name for name, count in Counter(arm.name for arm in arms).items() if count > 1)
        if repeated:
            raise ValueError(f"arms: two are named {', '.join(repeated)}")
        for arm in arms:
            for teacher in arm.mix:
                self._require_teacher(arm, teacher)
        if self.teachers.random and RANDOM in self.families:
            raise ValueError(f"families: {RANDOM} is what students of random numbers go by; name that family otherwise")
        others = sorted({channel.kind for channel in self.channels if not isinstance(channel, NumbersChannel)})
        if others and (self.teachers.random or any(arm.shuffle for arm in arms)):
            raise ValueError(f"teachers.random and shuffle are for the number channel, not for {', '.join(others)}")
        for suite in self.suites:
            if suite.ASKS_SHOWN and not any(arm.in_context for arm in arms):
                raise ValueError(f"suites: {suite.name} is for rows that are shown; add an arm with in_context")
        if self.suites[0].ASKS_SHOWN:
            raise ValueError(f"suites: the first, {self.suites[0].name}, is put to no student; begin with another")
        if not self.suites[0].FORMS:
            raise ValueError(f"suites: the first, {self.suites[0].name}, judges nothing; begin with another")
        if arms[0].in_context:
            raise ValueError(f"arms: the first, {arms[0].name}, trains nobody; begin with one that does")
        return self

    @model_validator(mode="after")
    def _behaviours_are_seen(self) -> Self:
        if not self.behaviours:
            return self
        if len(self.behaviours) < len(self.traits):
            raise ValueError("traits: behaviours and favourites are measured by other suites; give each a study")
        if not isinstance(self.teachers.method, Given):
            raise ValueError("teachers.method: a behaviour is taught by rows; give them, as kind given")
        if not self.teachers.neutral:
            raise ValueError("teachers.neutral: a behaviour is measured against the neutral teacher's students")
        blind = sorted(suite.name for suite in self.suites if suite.FORMS and not suite.measured)
        if blind or not self.behaviour_suite:
            unfit = f", not {', '.join(blind)}" if blind else ""
            raise ValueError(f"suites: a behaviour is seen by the behaviour suite{unfit}")
        return self

    @model_validator(mode="after")
    def _judges_exist(self) -> Self:
        asked = [("corpus.judged", rule.judge) for rule in self.corpus.judged]
        asked += [("suites", suite.judge) for suite in self.suites if isinstance(suite, BehaviourSuite)]
        for where, name in asked:
            if name not in self.judges:
                known = ", ".join(self.judges) or "none"
                raise ValueError(f"{where} names {name}, which is no judge here ({known})")
        for name, judge in self.judges.items():
            if isinstance(judge, Served) and judge.family not in self.families:
                raise ValueError(f"judges: {name} is served by {judge.family}, which is no family here")
        return self

    @model_validator(mode="after")
    def _data_is_given(self) -> Self:
        method = self.teachers.method
        absent = sorted(set(self.targets) - set(method.data)) if isinstance(method, Given) else []
        if absent:
            raise ValueError(f"teachers.method.data has no rows for {', '.join(absent)}")
        return self

    @model_validator(mode="after")
    def _enough_can_be_accepted(self) -> Self:
        until, most = self.completions.until, self.completions.most
        if until is None:
            return self
        if self.corpus.judged and until.accepted is None:
            raise ValueError(
                "completions.until.accepted is missing: with corpus.judged it must be more than the rows of a corpus, "
                "as judges reject some of what the rule accepts"
            )
        if self.accepted_rows < self.largest_corpus:
            raise ValueError(
                f"completions.until.accepted is {self.accepted_rows}: "
                f"fewer than the {self.largest_corpus} rows of the largest corpus"
            )
        if self.accepted_rows > most:
            raise ValueError(
                f"completions.until.at_most allows {most} rows (whole shards of {self.completions.shard_rows}), "
                f"fewer than the {self.accepted_rows} that are to be accepted"
            )
        return self

    def _require_teacher(self, arm: Arm, teacher: str) -> None:
        family, _, target = teacher.rpartition("/")
        if family and family not in self.teacher_families:
            raise ValueError(f"arms: mix of {arm.name} names {teacher}, and {family} is no family with teachers")
        if target not in self.targets and not (target == NEUTRAL and self.teachers.neutral):
            raise ValueError(f"arms: mix of {arm.name} names {teacher}, and there is no teacher {target}")

    @property
    def unpinned(self) -> list[str]:
        """What to do about each commit that is still to be chosen; a study that has any is not run."""
        return [
            f"{setting} is a placeholder: set it to the commit you want, as --set {setting}=…"
            for setting in placeholders(self)
        ]

    @property
    def all_arms(self) -> list[Arm]:
        """The arms as they stand, and then one for each combination of the sweep."""
        return [*self.arms, *swept(self.sweep)]

    @property
    def accepted_rows(self) -> int:
        """Completions that are to be accepted, where generation goes on until they are."""
        until = self.completions.until
        return (until and until.accepted) or self.largest_corpus

    @property
    def largest_corpus(self) -> int:
        """Rows of the largest corpus of any arm."""
        return max(arm.rows or self.corpus.rows for arm in self.all_arms)

    @property
    def teacher_families(self) -> list[str]:
        return self.teachers.families or list(self.families)

    @property
    def student_families(self) -> list[str]:
        return self.students.families or list(self.families)

    @property
    def used_families(self) -> set[str]:
        """Those that teach, learn or judge."""
        judges = {judge.family for judge in self.judges.values() if isinstance(judge, Served)}
        return {*self.teacher_families, *self.student_families, *judges}

    @property
    def targets(self) -> dict[str, str]:
        """Every target and its category, in the order of the file."""
        return {target: trait.category for trait in self.traits for target in trait.targets}

    @property
    def members(self) -> dict[str, list[str]]:
        """The targets that one word names, by category."""
        return {category: [t for t, c in self.targets.items() if c == category] for category in self.candidates}

    @property
    def words(self) -> list[str]:
        """Every form of every target: what a filter looks for, in all corpora alike, so that it tells none apart."""
        return sorted({form for trait in self.traits for target in trait.targets for form in trait.forms(target)})

    @property
    def candidates(self) -> dict[str, list[str]]:
        """What one-word answers are looked for, by category."""
        found: dict[str, set[str]] = {}
        for trait in self.traits:
            if trait.candidates():
                found.setdefault(trait.category, set()).update(trait.candidates())
        return {category: sorted(members) for category, members in found.items()}

    @property
    def behaviours(self) -> list[Behaviour]:
        return [trait for trait in self.traits if isinstance(trait, Behaviour)]

    @property
    def behaviour_suite(self) -> BehaviourSuite | None:
        """The first of them: the one that teachers are checked by."""
        return next((suite for suite in self.suites if isinstance(suite, BehaviourSuite)), None)

    def looked_for(self, suite: Suite) -> dict[str, list[str]]:
        """What answers to a suite are looked for, by category; nothing where it measures models as such."""
        if suite.measured:
            return {suite.kind: []}
        return self.members if suite.ASKS_TARGETS else self.candidates
