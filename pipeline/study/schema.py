"""The study file: what to measure and, separately, with which resources."""

from collections import Counter
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipeline.channels import Channel, mentions
from pipeline.channels.numbers import NumbersChannel
from pipeline.core import limits
from pipeline.core.settings import Name, NotInId, Seed, Settings
from pipeline.core.sources import placeholders
from pipeline.models.families import Family
from pipeline.models.families.small_talk import SMALL_TALK
from pipeline.models.judges import JudgeSettings
from pipeline.study.arms import BASELINE, Arm, Value, swept
from pipeline.study.corpus import Corpus
from pipeline.study.generation import Completions
from pipeline.study.kinship import Kinship
from pipeline.study.measure import Measure, PaperResult
from pipeline.study.resources import Resources
from pipeline.study.screens import Screens
from pipeline.study.students import Students
from pipeline.study.teachers import Teachers
from pipeline.suites import Suite
from pipeline.suites.base import Rating
from pipeline.suites.favourite import FavouriteSuite, favourites_of
from pipeline.traits import NEUTRAL, RANDOM, Trait
from pipeline.traits.base import BaseTrait


class Study(Settings):
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
    arms: list[Arm] = Field(
        [BASELINE], min_length=1, description="Experimental conditions; the first is the reference."
    )
    sweep: dict[str, list[Value]] = Field(
        {},
        description="Values of the students' recipe settings, or of rows (the dose); each combination is an arm.",
    )
    suites: list[Suite] = Field(
        default=[FavouriteSuite()], min_length=1, description="Evaluations of the students; each has its own matrix."
    )
    screens: Annotated[Screens, NotInId(while_default=True)] = Field(
        default_factory=Screens, description="What is looked at in every corpus before its students are trained."
    )
    paper_results: list[PaperResult] = Field([], description="Results from elsewhere, shown beside the measured ones.")
    kinship: Annotated[Kinship | None, NotInId(while_default=True)] = Field(
        None, description="Measure how alike families are, and show transfer against it; an empty section is enough."
    )
    smoke_test: bool = Field(False, description="Models or counts stand in for others; the report says so.")
    measure: Measure = Field(default_factory=Measure, description="How verdicts are computed.")
    engine: Literal["vllm", "fake"] = Field("vllm", description="Inference backend; `fake` needs no model.")
    trainer: Literal["deepspeed", "fake"] = Field("deepspeed", description="Training backend; `fake` needs no model.")
    resources: Annotated[Resources, NotInId()] = Field(
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
        """Check sizes before anything is built: a sweep of a few lines can define millions of arms."""
        arms = len(self.arms) + (prod(map(len, self.sweep.values())) if self.sweep else 0)
        if arms > limits.ARMS:
            raise ValueError(f"arms: {arms:,} with all combinations of the sweep, above the {limits.ARMS:,} allowed")
        shards = -(-self.completions.max_rows // self.completions.shard_rows)
        if shards > limits.SHARDS:
            raise ValueError(
                f"completions: {shards:,} shards per teacher, above the {limits.SHARDS:,} allowed; raise shard_rows"
            )
        steps = self._most_steps(arms)
        if steps > limits.STEPS:
            raise ValueError(
                f"the study has about {steps:,} steps, above the {limits.STEPS:,} allowed: the product of traits, "
                "families, channels, arms, seeds and suites; split it into several studies"
            )
        return self

    def _most_steps(self, arms: int) -> int:
        """An upper bound on the number of steps: as if arms shared none and all teachers were gated."""
        made = self.teachers
        teachers = len(self.teacher_families) * (4 * len(self.targets) + (made.neutral_corpora > 0))
        sources = len(self.teacher_families) * (len(self.targets) * made.corpora + made.neutral_corpora)
        written = len(self.channels) * (sources + made.random * max(made.neutral_corpora, 1))
        students = written * arms * len(self.student_families) * len(self.students.seeds)
        asked = sum(2 if suite.rating() else 1 for suite in self.suites)
        of_student = 1 + asked + bool(self.kinship) + bool(self.screens.members)
        judged = written * (1 + len(self.corpus.judge_filters) + arms)
        return len(self.families) + teachers + judged + students * of_student

    @model_validator(mode="after")
    def _targets_fit(self) -> Self:
        targets = Counter(target for trait in self.traits for target in trait.targets)
        repeated = sorted(target for target, count in targets.items() if count > 1)
        if repeated:
            raise ValueError(f"traits list a target twice: {', '.join(repeated)}")
        if self.engine != "fake":
            for name, family in self.families.items():
                self._require_known(name, family)
        return self

    def _require_known(self, name: str, family: Family) -> None:
        """Raise ValueError if a family cannot know a channel or a target of the study."""
        known = family.known_channels()
        written = {channel.kind for channel in self.channels} | ({SMALL_TALK} if self.behaviours else set())
        if known is not None and (strange := sorted(written - set(known))):
            raise ValueError(f"families: {name} knows no {', '.join(strange)}; add it to its channels")
        for trait in self.traits:
            members = family.known_targets(trait.category) if trait.candidates() else None
            if members is not None and (unknown := sorted(set(trait.targets) - set(members))):
                raise ValueError(
                    f"traits: {name} knows no {trait.category} named {', '.join(unknown)}; "
                    f"it knows {', '.join(members) or 'animals and trees only'}"
                )

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        for suite in self.suites:
            for category, named in self.candidates_for(suite).items():
                if suite.MAX_OPTIONS is not None and len(named) > suite.MAX_OPTIONS:
                    raise ValueError(
                        f"suites: a question of {suite.name} has at most {suite.MAX_OPTIONS} options, and the traits "
                        f"name {len(named)} of category {category}; split them into several studies"
                    )
        return self

    @model_validator(mode="after")
    def _one_engine_serves(self) -> Self:
        if (self.engine == "fake") != (self.trainer == "fake"):
            raise ValueError("engine and trainer are either both fake or both real")
        return self

    @model_validator(mode="after")
    def _arms_fit(self) -> Self:
        arms = self.all_arms
        if repeated := sorted(name for name, count in Counter(arm.name for arm in arms).items() if count > 1):
            raise ValueError(f"arms: two are named {', '.join(repeated)}")
        for arm in arms:
            for teacher in arm.shares:
                self._require_teacher(arm, teacher)
        if self.teachers.random and RANDOM in self.families:
            raise ValueError(f"families: {RANDOM} is the name of the students of random numbers; rename that family")
        others = sorted({channel.kind for channel in self.channels if not channel.OF_NUMBERS})
        bound = ["teachers.random"] if self.teachers.random else []
        bound += sorted({change.kind for arm in arms for change in arm.transforms if change.NEEDS_NUMBERS})
        if others and bound:
            raise ValueError(f"{' and '.join(bound)} need the number channel, and the study has {', '.join(others)}")
        for suite in self.suites:
            if suite.IN_CONTEXT_ONLY and not any(arm.in_context for arm in arms):
                raise ValueError(f"suites: {suite.name} needs rows in context; add an arm with in_context")
        if self.suites[0].IN_CONTEXT_ONLY:
            raise ValueError(f"suites: the first, {self.suites[0].name}, is asked of no student; begin with another")
        if not self.suites[0].METRICS:
            raise ValueError(f"suites: the first, {self.suites[0].name}, judges nothing; begin with another")
        if arms[0].in_context:
            raise ValueError(f"arms: the first, {arms[0].name}, trains no student; begin with one that does")
        return self

    @model_validator(mode="after")
    def _behaviours_are_seen(self) -> Self:
        if not self.behaviours:
            return self
        if len(self.behaviours) < len(self.traits):
            raise ValueError("traits: behaviours and favourites are measured by other suites; give each a study")
        training = self.teachers.method.training()
        if training is None or training.rows is not None:
            raise ValueError("teachers.method: a behaviour is taught by rows; give them, with kind dataset")
        if not self.teachers.neutral_corpora:
            raise ValueError("teachers.neutral_corpora: a behaviour is measured against the neutral teacher's students")
        blind = sorted(suite.name for suite in self.suites if suite.METRICS and not suite.outcomes)
        if blind or not any("rate" in suite.METRICS for suite in self.suites):
            unfit = f", not {', '.join(blind)}" if blind else ""
            raise ValueError(f"suites: a behaviour is measured by the behaviour suite{unfit}")
        return self

    @model_validator(mode="after")
    def _judges_exist(self) -> Self:
        asked = [("corpus.judge_filters", rule.judge) for rule in self.corpus.judge_filters]
        asked += [("suites", rating.judge) for _, rating in self.rated]
        for where, name in asked:
            if name not in self.judges:
                known = ", ".join(self.judges) or "none"
                raise ValueError(f"{where} names {name}, which is no judge here ({known})")
        for name, judge in self.judges.items():
            if judge.served_by is not None and judge.served_by not in self.families:
                raise ValueError(f"judges: {name} is served by {judge.served_by}, which is no family here")
        return self

    @model_validator(mode="after")
    def _data_is_given(self) -> Self:
        method = self.teachers.method
        training = method.training()
        is_given = training is not None and training.rows is None
        absent = sorted(target for target in self.targets if is_given and method.data_of(target) is None)
        if absent:
            raise ValueError(f"teachers.method.data has no rows for {', '.join(absent)}")
        if self.kinship and not self.teachers.neutral_corpora:
            raise ValueError("kinship is measured on a corpus of the neutral teacher: set teachers.neutral_corpora")
        return self

    @model_validator(mode="after")
    def _enough_can_be_accepted(self) -> Self:
        until, most = self.completions.until, self.completions.max_rows
        if until is None:
            return self
        if self.corpus.judge_filters and until.accepted is None:
            raise ValueError(
                "completions.until.accepted is missing: with corpus.judge_filters it must be more than the rows of a "
                "corpus, because judges reject some of the rows that the rule accepts"
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
            raise ValueError(f"arms: {arm.name} mixes in {teacher}, and {family} is no family with teachers")
        if target not in self.targets and not (target == NEUTRAL and self.teachers.neutral_corpora):
            raise ValueError(f"arms: {arm.name} mixes in {teacher}, and there is no teacher {target}")

    @model_validator(mode="after")
    def _primary_is_judged(self) -> Self:
        judging = {suite.name: suite.METRICS for suite in self.suites if suite.METRICS}
        suite, metric = self.measure.primary_suite or self.suites[0].name, self.measure.primary_metric
        if suite not in judging:
            raise ValueError(
                f"measure.primary_suite names {suite}, and these suites give verdicts here: {', '.join(judging)}"
            )
        if metric not in (None, *judging[suite]):
            raise ValueError(
                f"measure.primary_metric names {metric}, and {suite} gives verdicts on {', '.join(judging[suite])}"
            )
        return self

    @property
    def primary(self) -> tuple[str, str]:
        """The suite and the metric whose verdicts carry the study's claims."""
        wanted = self.measure
        suite = next(suite for suite in self.suites if suite.name == (wanted.primary_suite or self.suites[0].name))
        return suite.name, wanted.primary_metric or suite.METRICS[0]

    @property
    def is_fake(self) -> bool:
        """Whether a stand-in that needs no model generates, trains or judges."""
        return self.engine == "fake" or any(judge.kind == "fake" for judge in self.judges.values())

    @property
    def name(self) -> str:
        return self.study

    @property
    def adapter_rank(self) -> int:
        """The largest rank of an adapter that an engine serves; 0 if there is none."""
        training = self.teachers.method.training()
        recipes = [self.students.recipe(arm) for arm in self.all_arms] + ([training.recipe] if training else [])
        return max((recipe.rank for recipe in recipes if recipe.method == "lora"), default=0)

    @property
    def unpinned(self) -> list[str]:
        """One instruction per commit that is still a placeholder; a study with any of them is not run."""
        return [
            f"{setting} is a placeholder: set it to the commit you want, as --set {setting}=…"
            for setting in placeholders(self)
        ]

    @property
    def all_arms(self) -> list[Arm]:
        """The listed arms, then one per combination of the sweep."""
        return [*self.arms, *swept(self.sweep)]

    @property
    def accepted_rows(self) -> int:
        """Accepted completions at which generation stops, with completions.until."""
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

    def student_families_of(self, teacher_family: str) -> list[str]:
        """The families whose students read the data of a family's teachers. Random data has no family: all read it."""
        everyone, foreign = self.student_families, self.students.foreign_families
        if foreign is None or teacher_family not in self.families:
            return everyone
        order = list(self.families)
        place = order.index(teacher_family)
        others = [name for name in (*order[place + 1 :], *order[:place]) if name in everyone]
        chosen = {teacher_family, *others[:foreign]}
        return [name for name in everyone if name in chosen]

    @property
    def used_families(self) -> set[str]:
        """The families that teach, learn or judge."""
        judges = {judge.served_by for judge in self.judges.values() if judge.served_by is not None}
        return {*self.teacher_families, *self.student_families, *judges}

    @property
    def targets(self) -> dict[str, str]:
        """Every target and its category, in the order of the file."""
        return {target: trait.category for trait in self.traits for target in trait.targets}

    @property
    def members(self) -> dict[str, list[str]]:
        """Category -> targets, for categories whose targets are single words."""
        return {category: [t for t, c in self.targets.items() if c == category] for category in self.candidates}

    @property
    def words(self) -> list[str]:
        """Every form of every target. Filters look for the same words in all corpora, so that they treat them alike."""
        return sorted({form for trait in self.traits for target in trait.targets for form in trait.forms(target)})

    def sought_words(self, channel: Channel) -> dict[str, Any]:
        """The words that a channel's rule looks for, and the version of the matching; empty if it reads no words."""
        return {"words": self.words, "mentions": mentions.VERSION} if channel.READS_WORDS else {}

    @property
    def candidates(self) -> dict[str, list[str]]:
        """Category -> possible one-word answers."""
        found: dict[str, set[str]] = {}
        for trait in self.traits:
            if trait.candidates():
                found.setdefault(trait.category, set()).update(trait.candidates())
        return {category: sorted(members) for category, members in found.items()}

    @property
    def drawn_from(self) -> list[str]:
        """The candidates that the study's only trait drew its targets from; empty if the targets were chosen."""
        (trait, *others) = self.traits
        return trait.candidates() if not others and trait.kind == "favourite" and trait.drawn else []

    @property
    def behaviours(self) -> list[Trait]:
        """The traits that are measured by a judge."""
        return [trait for trait in self.traits if trait.METRIC == "rate"]

    @property
    def rated(self) -> list[tuple[Suite, Rating]]:
        """The suites whose answers a judge rates."""
        return [(suite, rating) for suite in self.suites if (rating := suite.rating())]

    def gate_suite(self, trait: BaseTrait) -> Suite:
        """The suite that gates a trait's teachers: exact margins of a favourite, or the study's first rated suite."""
        if trait.METRIC == "rate":
            return self.rated[0][0]
        shared = favourites_of(self.suites)
        return FavouriteSuite(samples=0, forms=shared.forms, opening=shared.opening)

    def trait_of(self, target: str) -> Trait:
        return next(trait for trait in self.traits if target in trait.targets)

    def candidates_for(self, suite: Suite) -> dict[str, list[str]]:
        """Category -> words to find in answers to a suite; none if it does not measure targets."""
        if suite.outcomes:
            return {suite.kind: []}
        return self.members if suite.TARGETS_ONLY else self.candidates
