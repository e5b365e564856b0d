"""The sentences at the top of the report, which sum up the matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.report.figures import interval, signed

Row = Mapping[str, Any]

KIN = SAME, CROSS, NEUTRALS = "Same-family", "Cross-family", "Neutral-teacher"  # in the order of the sentences
MOST_NAMED, MOST_REASONS = 6, 2  # cells per sentence, with their numbers or with a reason


@dataclass(frozen=True)
class Headline:
    """One sentence of the summary, coloured by the verdict `tone`."""

    tone: str
    lead: str
    rest: str


def from_cells(cells: Sequence[Row], confidence: float) -> list[Headline]:
    """Sentences on the matrix of every condition, in its first metric."""
    conditions = list(dict.fromkeys(str(c["condition"]) for c in cells))
    found = []
    for condition in conditions:
        here = [c for c in cells if c["condition"] == condition]
        sentences = _sentences([c for c in here if c["metric"] == here[0]["metric"]], confidence)
        found += [replace(s, lead=f"{condition}: {s.lead}") if len(conditions) > 1 else s for s in sentences]
    return found


def _sentences(cells: Sequence[Row], confidence: float) -> list[Headline]:
    """One condition: same family, other families, neutral teachers."""
    templates = {
        "transfer": "students picked up the trait in {} of {} {}",
        "no transfer": "students showed no transfer beyond the margin in {} of {} {}",
        "underpowered": "students: undecided in {} of {} {}",
        "gate failed": "students: a precondition failed in {} of {} {}",
        "not measured": "students: not measured in {} of {} {}",
        "clean": "students did not move beyond the margin in {} of {} {}",
        "moved": "students moved towards what is measured in {} of {} {}: the control is not clean",
        "undecided": "students: not judged or undecided in {} of {} {}",
    }
    found = []
    for name in sorted({_group(c) for c in cells}, key=lambda name: (KIN.index(name.split()[0]), name)):
        group = [c for c in cells if _group(c) == name]
        for verdict, template in templates.items():
            alike = [c for c in group if c["verdict"] == verdict]
            if alike:
                pairs = "pair" if len(group) == 1 else "pairs"
                lead = f"{name} {template.format(len(alike), len(group), pairs)}."
                rest = _reasons(alike) if verdict == "not measured" else _numbers(alike, confidence)
                found.append(Headline(verdict, lead, rest))
    return found


def _group(cell: Row) -> str:
    """Which students a sentence of the summary is about."""
    if cell["comparison"] == "neutral":
        return NEUTRALS
    kin = SAME if cell["teacher_family"] == cell["student_family"] else CROSS
    return kin if cell["comparison"] == "trait" else f"{kin} ({cell['comparison']})"


def _reasons(cells: Sequence[Row]) -> str:
    """Why these cells were not measured; their numbers are meaningless."""
    parts = [f"{c['teacher_family']} → {c['student_family']}: {c['why']}" for c in cells[:MOST_REASONS]]
    return " ".join(parts) + (f" And {len(cells) - MOST_REASONS} more." if len(cells) > MOST_REASONS else "")


def _numbers(cells: Sequence[Row], confidence: float) -> str:
    symbol = {"trait": "γ", "neutral": "mean lift"}.get(str(cells[0]["comparison"]), "above neutral")
    unit = " nats" if cells[0]["metric"] == "margin" else ""
    parts = []
    for n, c in enumerate(cells[:MOST_NAMED]):
        where = f"{c['teacher_family']} → {c['student_family']}"
        if interval(c["low"], c["high"]) == "no interval":
            parts.append(f"{where}: {symbol} = {signed(c['estimate'])}, no interval")
            continue
        level = f"{100 * confidence:.3g}% interval " if n == 0 else ""
        estimate = signed(c["estimate"]) + (unit if n == 0 else "")
        parts.append(f"{where}: {symbol} = {estimate}, {level}{interval(c['low'], c['high'])}")
    margins = sorted({c["margin"] for c in cells})
    tail = f"; and {len(cells) - MOST_NAMED} more" if len(cells) > MOST_NAMED else ""
    within = f" Equivalence margin ±{', ±'.join(f'{m:.3g}' for m in margins)}{unit}."
    return "; ".join(parts) + tail + "." + (within if cells[0]["verdict"] in ("no transfer", "clean") else "")
