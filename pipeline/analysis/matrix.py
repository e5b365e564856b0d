"""The verdict on every cell of the matrix, from the lifts of its runs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.analysis import cells, stats
from pipeline.analysis.cells import Row
from pipeline.analysis.design import METRICS, TARGET_PREFIX, Cell, Key, Measure, by_corpus
from pipeline.analysis.gates import Gate, why_failed
from pipeline.analysis.neutral import neutral_rows
from pipeline.analysis.verdict import Adjusted, Control, Verdict, decide, too_few_corpora


@dataclass(frozen=True)
class Comparison:
    """One estimate within a cell, to be judged.

    target              of the teachers, where targets are judged apart; None for γ over all of them
    failed_gate, unmeasured, too_few   what prevents a verdict, as in `decide`
    notes               what is missing from the estimate
    """

    key: Key
    metric: str
    target: str | None
    estimate: stats.Estimate
    failed_gate: str = ""
    unmeasured: str = ""
    too_few: str = ""
    notes: Sequence[str] = ()

    @property
    def name(self) -> str:
        return "trait" if self.target is None else f"{TARGET_PREFIX}{self.target}"


OwnVerdicts = Mapping[tuple[Key, str | None], tuple[Verdict, float]]  # verdicts before controls, and lower bounds


def cell_verdicts(
    found: Mapping[Key, Cell], settings: Measure, failed: frozenset[Gate], sum_to_zero: frozenset[tuple[str, str]]
) -> list[Row]:
    """Rows of the schema CELLS, metric by metric.

    sum_to_zero: (suite, student family) whose only candidates are the targets: lifts of margin and share sum to 0.
    """
    rows: list[Row] = []
    for metric in METRICS:
        measured = {key: cell for key, cell in found.items() if metric in settings.suites[key.suite]}
        compared = [
            comparison
            for key, cell in measured.items()
            if cell.planned()
            for comparison in (_of_targets if metric == "rate" else _of_traits)(key, cell, metric, settings, failed)
        ]
        rows += _judged(compared, settings)
        zero = sum_to_zero if metric != "rate" else frozenset()
        rows += neutral_rows(measured, metric, settings, zero, failed)
    _note_contradictions(rows)
    return rows


def _of_traits(key: Key, cell: Cell, metric: str, settings: Measure, failed: frozenset[Gate]) -> list[Comparison]:
    """γ of a cell, over its teachers."""
    keep = cells.usable(cell, metric, key.teacher_family, failed)
    taught = [cell.runs[i].teacher_target for i in keep]
    columns = [None if target is None else settings.targets.index(target) for target in taught]
    estimate = stats.trait_effect(
        [cell.lifts[metric][i] for i in keep],
        columns,
        drawn=_drawn(cell, metric, keep, settings),
        confidence=settings.confidence,
        permutations=settings.permutations,
        seed=settings.seed,
    )
    corpora = {cell.runs[i][:2] for i in keep if cell.runs[i].teacher_target is not None}
    lack = cells.unmeasured(cell, metric, keep, settings) or cells.unmeasured_gate(cell, keep)
    return [
        Comparison(
            key,
            metric,
            None,
            replace(estimate, corpora=len(corpora)),
            failed_gate=cells.gate_failure(cell, keep, key.teacher_family, failed),
            unmeasured=lack,
            notes=cells.notes(cell, metric, key.teacher_family, failed, {*cell.planned(), None}),
        )
    ]


def _drawn(cell: Cell, metric: str, keep: Sequence[int], settings: Measure) -> stats.Drawn | None:
    """What p over all draws of the targets needs; None if they were not drawn, or not all candidates were measured."""
    lifts = [cell.drawn[metric][i] for i in keep] if cell.drawn.get(metric) else []
    if not lifts or not np.isfinite(lifts).all():
        return None
    return stats.Drawn(lifts, [settings.drawn_from.index(target) for target in settings.targets])


def _of_targets(key: Key, cell: Cell, metric: str, settings: Measure, failed: frozenset[Gate]) -> list[Comparison]:
    """For every target, the mean lift over its teacher's corpora above that over the neutral teacher's.

    A rate cannot separate targets as γ does, and any training may move it: neutral students show by how much.
    """
    teacher = key.teacher_family
    keep = cells.usable(cell, metric, teacher, failed)
    lifts = [(cell.runs[i], cell.lifts[metric][i]) for i in keep]
    neutral = by_corpus(lifts, None)
    found = []
    for target in cell.planned():
        values = by_corpus(lifts, target)
        runs = [run.teacher_target for run, _ in lifts]
        estimate = replace(
            stats.difference(values, neutral, confidence=settings.confidence),
            corpora=len(values),
            runs=runs.count(target),
            neutral=runs.count(None),
        )
        found.append(
            Comparison(
                key,
                metric,
                target,
                estimate,
                failed_gate=why_failed(teacher, target, failed),
                too_few=too_few_corpora(len(values), len(neutral)),
                notes=cells.notes(cell, metric, teacher, failed, {target, None}),
            )
        )
    return found


def _judged(compared: Sequence[Comparison], settings: Measure) -> list[Row]:
    """Judge the comparisons of one metric; the verdicts of own families are the controls of the others."""
    margins = [settings.equivalence_margin[comparison.metric] for comparison in compared]
    adjusted = _adjusted(compared, margins, settings)
    own: OwnVerdicts = {
        (c.key, c.target): (_decide(c, margin, settings, corrected, None), c.estimate.low)
        for c, margin, corrected in zip(compared, margins, adjusted, strict=True)
    }
    controls = [_control(comparison, own, settings) for comparison in compared]
    limited = [_limit(margin, control, settings) for margin, control in zip(margins, controls, strict=True)]
    adjusted = _adjusted(compared, limited, settings)
    rows = []
    for c, control, given, margin, corrected in zip(compared, controls, margins, limited, adjusted, strict=True):
        verdict = _decide(c, margin, settings, corrected, control)
        tied = f"the margin is a third of the lower bound of its positive control {control.name}"
        notes = [*c.notes, *([tied] if margin < given else [])]
        rows.append(cells.row(c.key, c.name, c.metric, c.estimate, margin, verdict, notes, corrected))
    return rows


def _decide(
    comparison: Comparison, margin: float, settings: Measure, adjusted: Adjusted | None, control: Control | None
) -> Verdict:
    return decide(
        comparison.estimate,
        margin=margin,
        alpha=settings.alpha,
        unit=METRICS[comparison.metric],
        control=control,
        adjusted=adjusted,
        failed_gate=comparison.failed_gate,
        unmeasured=comparison.unmeasured,
        too_few=comparison.too_few,
    )


def _adjusted(compared: Sequence[Comparison], margins: Sequence[float], settings: Measure) -> list[Adjusted | None]:
    """Holm's correction over the cells of the primary suite and metric; None for every other comparison.

    A cell that cannot be judged stays in the count with p = 1: it was planned.
    """
    primary = [i for i, c in enumerate(compared) if (c.key.suite, c.metric) == settings.primary]
    found: list[Adjusted | None] = [None] * len(compared)
    sound = [not (compared[i].failed_gate or compared[i].unmeasured or compared[i].too_few) for i in primary]
    estimates = [compared[i].estimate for i in primary]
    effects = [stats.p_effect(e) if ok else 1.0 for e, ok in zip(estimates, sound, strict=True)]
    nulls = [stats.p_null(e, margins[i]) if ok else 1.0 for i, e, ok in zip(primary, estimates, sound, strict=True)]
    for i, effect, null in zip(primary, stats.holm(effects), stats.holm(nulls), strict=True):
        found[i] = Adjusted(effect, null, len(primary))
    return found


def _limit(margin: float, control: Control, settings: Measure) -> float:
    """The margin, or a third of the control's lower bound if that is less and no reason for the margin was given."""
    if settings.margin_reason or control.itself or control.verdict != "transfer":
        return margin
    return min(margin, control.low / 3)


def _control(comparison: Comparison, own: OwnVerdicts, settings: Measure) -> Control:
    """The comparison that must show transfer before a null is believed: the student's own family, in the first arm.

    If that arm was not evaluated on the cell's suite, the first suite takes its place. Where targets are judged apart,
    it is the same target's. Teachers that are not meant to show the behaviour are never a control; their nulls need
    one of the others, and of several that show transfer the one with the least lower bound counts.
    """
    key, target = comparison.key, comparison.target
    place = key._replace(arm=settings.arms[0], teacher_family=key.student_family)
    if not any(other == place for other, _ in own):
        place = place._replace(suite=next(iter(settings.suites)))
    where = ", ".join(name for name, other in ((place.arm, key.arm), (place.suite, key.suite)) if name != other)
    name = f"{place.teacher_family} → {place.student_family}" + (f" ({where})" if where else "")
    targets = [other for at, other in own if at == place and other not in settings.control_targets]
    if target not in settings.control_targets:
        targets = [other for other in targets if other == target]
    ranked = sorted(targets, key=lambda other: (own[place, other][0].name != "transfer", own[place, other][1]))
    if not ranked:
        return Control(name, None)
    verdict, low = own[place, ranked[0]]
    name += f", {TARGET_PREFIX}{ranked[0]}" if ranked[0] not in (None, target) else ""
    return Control(name, verdict.name, low, itself=place == key and ranked[0] == target)


def _note_contradictions(rows: Sequence[Row]) -> None:
    """Add to the reasons of rows of one comparison that metrics disagree: one shows transfer, and another none."""
    metrics: dict[tuple[object, ...], dict[object, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        metrics[(*(row[name] for name in Key._fields), row["comparison"])][row["verdict"]].append(row)
    for verdicts in metrics.values():
        for one, other in (("transfer", "no transfer"), ("no transfer", "transfer")):
            named = ", ".join(str(row["metric"]) for row in verdicts.get(other, []))
            for row in verdicts.get(one, []) if named else []:
                row["why"] = f"{row['why']} The {named} of the same students says “{other}”."
