"""The design of a study: its runs, the cells that they fall into, and how their lifts become verdicts."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple

from pipeline.analysis import stats

# Metrics that give verdicts -> unit, as written after a number.
METRICS = {"margin": " nats", "share": "", "mention_rate": "", "rate": ""}
CANDIDATE_METRICS = frozenset({"margin", "share"})  # computed from the probabilities of candidates
TARGET_PREFIX = "target "  # prefix of a comparison over the students of one target's teachers


@dataclass(frozen=True)
class Run:
    """One trained run, evaluated on one suite. teacher_target: None for the neutral teacher. corpus: from 1."""

    channel: str
    arm: str
    suite: str
    teacher_family: str
    student_family: str
    teacher_target: str | None
    corpus: int
    seed: int


@dataclass(frozen=True)
class MissingStudent(Run):
    """A planned run without answers. reason: a code of pipeline.core.reasons."""

    reason: str = ""


class Key(NamedTuple):
    """One cell: a teacher and a student family, in the matrix of a channel, arm and suite."""

    channel: str
    arm: str
    suite: str
    teacher_family: str
    student_family: str


class RunKey(NamedTuple):
    """A run within its cell."""

    teacher_target: str | None
    corpus: int
    seed: int

    @property
    def name(self) -> str:
        """As in messages and in the report: "owl s1", or "neutral c2 s1" for a second corpus."""
        corpus = f" c{self.corpus}" if self.corpus > 1 else ""
        return f"{self.teacher_target or 'neutral'}{corpus} s{self.seed}"


def by_corpus(runs: Iterable[tuple[RunKey, Sequence[float]]], teacher_target: str | None) -> list[float]:
    """For each corpus of a teacher target, the mean over its runs of the mean of their values."""
    found: dict[int, list[float]] = defaultdict(list)
    for run, values in runs:
        if run.teacher_target == teacher_target:
            found[run.corpus].append(fmean(values))
    return [fmean(means) for means in found.values()]


@dataclass(frozen=True)
class Measure:
    """How lifts become verdicts.

    targets             the traits' targets: the columns of the design
    arms                in the study's order; the own-family cells of the first are the positive controls
    suites              name -> the metrics that give its verdicts
    equivalence_margin  metric -> the largest |γ|, in the metric's unit, that counts as no transfer
    margin_reason       why these margins were set; if empty, a third of the positive control's lower bound limits them
    primary             suite and metric whose cells carry the study's claims; others support them
    outcomes            suite -> the quantities it measures of every model, for suites without targets
    drawn_from          the candidates that the study drew its targets from; empty if somebody chose them
    control_targets     targets of teachers that are not meant to show the behaviour
    confidence          level of the two-sided intervals; a permutation p must not exceed 1 − confidence
    permutations        up to this many permutations are enumerated; of more, this many are drawn
    seed                of these draws
    min_mass            least total probability of the candidates, required of the base and of every run
    """

    targets: tuple[str, ...]
    arms: tuple[str, ...]
    suites: Mapping[str, Sequence[str]]
    equivalence_margin: Mapping[str, float]
    primary: tuple[str, str]
    margin_reason: str = ""
    outcomes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    control_targets: Collection[str] = ()
    drawn_from: tuple[str, ...] = ()
    confidence: float = 0.95
    permutations: int = 20_000
    seed: int = 0
    min_mass: float = 0.0

    @property
    def alpha(self) -> float:
        return round(1 - self.confidence, 12)

    def sort_key(self, key: Key) -> tuple[object, ...]:
        """Orders cells: channels by name, arms and suites in the study's order, then families by name."""
        suite = list(self.suites).index(key.suite)
        return (key.channel, suite, self.arms.index(key.arm), key.teacher_family, key.student_family)

    def columns(self, suite: str) -> tuple[str, ...]:
        """The quantities that a suite measures of each run."""
        return tuple(self.outcomes.get(suite, self.targets))


@dataclass
class Cell:
    """The runs of one cell and their lifts[metric][run][column].

    drawn: of metrics of candidates, lifts[metric][run][candidate that the targets were drawn from]; empty otherwise.
    masses, base_mass: total probability of the candidates in each run and in the base; NaN if none were scored.
    """

    runs: list[RunKey] = field(default_factory=list)
    lifts: dict[str, list[list[float]]] = field(default_factory=lambda: {metric: [] for metric in METRICS})
    drawn: dict[str, list[list[float]]] = field(default_factory=lambda: {metric: [] for metric in CANDIDATE_METRICS})
    masses: list[float] = field(default_factory=list)
    base_mass: float = stats.NAN
    missing: list[MissingStudent] = field(default_factory=list)

    def planned(self) -> list[str]:
        """The planned targets of its teachers, sorted; empty for random numbers, which have no teacher."""
        targets = {run.teacher_target for run in self.runs} | {lost.teacher_target for lost in self.missing}
        return sorted(target for target in targets if target is not None)

    def has_neutral(self) -> bool:
        """Whether a neutral teacher was planned."""
        return None in {run.teacher_target for run in self.runs} | {lost.teacher_target for lost in self.missing}
