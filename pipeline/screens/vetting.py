"""Vetting: all screens of one data set, and what they forecast for a student that would be trained on it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.analysis.forecast import Forecast, Verdict
from pipeline.core.errors import StepError
from pipeline.screens import SCREENS, reference
from pipeline.screens.base import Scores, ScreenInput
from pipeline.screens.parts import Result
from pipeline.screens.reference import LARGEST, LEADING, Regime

MOST_WORST = 10  # rows that are shown
FORECASTS = ("gradient", "probe")  # screens that are good enough to forecast transfer; docs/screens.md
BY_ROW = "gradient"  # the screen that says which rows


@dataclass(frozen=True)
class Score:
    """A screen's score of the data, its standard error and, if the screen forecasts, what it forecasts."""

    screen: str
    score: float
    error: float
    forecast: Forecast | None


@dataclass(frozen=True)
class WorstRow:
    """A row that moves a base most towards a target. index: its number in the data, from 0.

    tokens: text and score of every token of the completion; the last, without text, is the end of the turn.
    """

    index: int
    score: float
    prompt: str
    completion: str
    tokens: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class Finding:
    """What is expected of one target. reason: what the verdict rests on, in words."""

    target: str
    verdict: Verdict
    reason: str
    scores: Sequence[Score]
    worst: Sequence[WorstRow] = ()


@dataclass
class Vetted:
    """findings: by target, the most likely first. general: scores that are about no trait in particular.

    covered: whether the reference set has bases of this kind; without, no verdict but inconclusive is given.
    seconds: by screen. failed: screen -> why it could not look at this data or base.
    """

    regime: Regime
    covered: bool
    findings: list[Finding] = field(default_factory=list)
    general: list[Score] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def likely(self) -> list[str]:
        return [finding.target for finding in self.findings if finding.verdict == "likely"]


def vet(given: ScreenInput, results: Mapping[str, Result], regime: Regime) -> Vetted:
    """Forecast from what screens said of the data. results: by kind of screen. Raises StepError if all have failed."""
    vetted = Vetted(regime, covered=given.passes.size <= LARGEST)
    scores: dict[str, Scores] = {}
    for kind, result in results.items():
        if isinstance(result, StepError):
            vetted.failed[kind] = str(result)
        else:
            vetted.seconds[kind], scores[kind] = result.seconds, result.scores
    if not scores:
        raise StepError("; ".join(f"{kind}: {why}" for kind, why in vetted.failed.items()))
    for kind, one in scores.items():
        if not SCREENS[kind].OF_TRAITS:
            vetted.general.append(Score(kind, float(one.corpus[0]), float(one.error[0]), None))
    findings = [_finding(given, target, scores, vetted) for target in given.outcomes.targets]
    vetted.findings = sorted(findings, key=lambda finding: -_probability(finding))
    return vetted


def _finding(given: ScreenInput, target: str, found: Mapping[str, Scores], vetted: Vetted) -> Finding:
    scores = [_score(kind, one, target, vetted) for kind, one in found.items() if target in one.targets]
    verdict, reason = _verdict(scores, vetted)
    return Finding(target, verdict, reason, scores, _worst(given, found.get(BY_ROW), target))


def _score(kind: str, scores: Scores, target: str, vetted: Vetted) -> Score:
    column = scores.targets.index(target)
    score, error = float(scores.corpus[column]), float(scores.error[column])
    fit = reference.fitted(kind, vetted.regime) if kind in FORECASTS and vetted.covered else None
    return Score(kind, score, error, fit.at(score, error) if fit else None)


def _verdict(scores: Sequence[Score], vetted: Vetted) -> tuple[Verdict, str]:
    leading = next((score for score in scores if score.screen == LEADING), None)
    if not vetted.covered:
        return "inconclusive", "the reference set has no base of this size, so no score can be turned into a forecast"
    if leading is None or leading.forecast is None:
        why = f"failed: {vetted.failed[LEADING]}" if LEADING in vetted.failed else "was not run"
        return "inconclusive", f"the screen {LEADING}, which forecasts rest on, {why}"
    found = leading.forecast
    beyond = ", beyond all scores of the reference set" if found.beyond else ""
    return found.verdict, (
        f"{LEADING} {leading.score:+.4f} ± {leading.error:.4f}{beyond}: of reference corpora with such a score "
        f"{found.probability:.0%} transferred ({found.low:.0%} to {found.high:.0%} within one standard error), by "
        f"{found.lift:+.2f} nats on average"
    )


def _worst(given: ScreenInput, scores: Scores | None, target: str) -> list[WorstRow]:
    if scores is None or scores.rows is None or target not in scores.targets:
        return []
    column, tokens = scores.rows[:, scores.targets.index(target)], (scores.tokens or {}).get(target, {})
    return [
        WorstRow(
            index=given.rows["index"][int(row)].as_py(),
            score=float(column[row]),
            prompt=given.rows["prompt"][int(row)].as_py(),
            completion=given.rows["completion"][int(row)].as_py(),
            tokens=_texts(given, int(row), tokens[int(row)]) if int(row) in tokens else (),
        )
        for row in (-column).argsort(kind="stable")[:MOST_WORST]
    ]


def _texts(given: ScreenInput, row: int, scores: Iterable[float]) -> list[tuple[str, float]]:
    """The scores of a row's tokens with their texts."""
    texts = given.passes.texts(given.tokens.prompts[row], given.tokens.completions[row])
    return [(text, float(score)) for text, score in zip(texts, scores, strict=True)]


def _probability(finding: Finding) -> float:
    leading = next((score for score in finding.scores if score.screen == LEADING), None)
    if leading is None:
        return 0.0
    return leading.forecast.probability + 1e-6 * leading.score if leading.forecast else leading.score
