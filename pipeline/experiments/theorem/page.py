"""The page of the theorem's check, and its table for a terminal.

As the page of a study, it loads nothing, runs no script, and is the same bytes for the same content.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.experiments.theorem import figures
from pipeline.experiments.theorem.conditions import ALL_WEIGHTS, SAMPLED, THEOREM
from pipeline.experiments.theorem.settings import Criteria, Design
from pipeline.experiments.theorem.summary import ALL_NETWORKS, Claim, Group, estimate, share
from pipeline.report.figures import png
from pipeline.report.page import picture
from pipeline.report.template import template
from pipeline.store.artifact import Manifest

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Content:
    """Everything that the page shows. lineage: the artifacts that it was made from."""

    name: str
    smoke_test: bool
    design: Design
    criteria: Criteria
    groups: Sequence[Group]
    claims: Sequence[Claim]
    lineage: Sequence[Manifest]
    versions: Mapping[str, str]
    settings_yaml: str


def render(content: Content) -> dict[str, bytes]:
    """File name -> bytes: report.html and the two figures."""
    departure = figures.departure(content.groups, content.criteria)
    negative = figures.negative(content.groups)
    html = template("theorem.html.j2", Path(__file__).parent).render(
        c=content,
        departure=picture(departure),
        negative=picture(negative),
        within=[group for group in content.groups if group.condition == THEOREM],
        others=[
            group for group in content.groups if group.condition != THEOREM and group.step == content.criteria.step
        ],
        sampled=[g for g in content.groups if g.condition == SAMPLED and g.network == ALL_NETWORKS],
        all_weights=ALL_WEIGHTS,
        share=share,
        estimate=estimate,
        line=figures.line,
    )
    return {"report.html": html.encode(), "departure.png": png(departure), "negative.png": png(negative)}


def for_terminal(content: Content) -> "Table":
    """The claims, for a terminal."""
    from rich.table import Table
    from rich.text import Text

    title = f"{content.name}: {content.design.total:,} draws"
    made = Table(title=Text(f"SMOKE TEST {title}" if content.smoke_test else title))
    for name in ("claim", "", "figures"):
        made.add_column(name)
    for claim in content.claims:
        mark = Text("found", "green") if claim.holds else Text("not found", "yellow")
        made.add_row(Text(claim.text), mark, Text(claim.figures))
    return made
