"""The page and the figure of the image classifier, and its table for a terminal.

As the page of a study, it loads nothing, runs no script, and is the same bytes for the same content.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.experiments.image_classifier.statistics import ALL, CHANCE, Claim, Result, shown
from pipeline.report import figures
from pipeline.report.figures import Theme, interval, label
from pipeline.report.page import picture
from pipeline.report.template import template
from pipeline.store.artifact import Manifest
from pipeline.store.step import Json

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Group

LINE = 0.34  # inches per condition


@dataclass(frozen=True)
class Content:
    """Everything that the page shows.

    groups      names of the groups of seeds, all seeds first
    images      results of the artifact of images
    recipe      training, sizes and the number of noise images
    speeds      per step: operations, training_seconds, operations_per_second, matmul_per_second, machines
    missing     condition without a result -> why
    lineage     the artifacts that the page was made from
    """

    name: str
    smoke_test: bool
    results: Sequence[Result]
    claims: Sequence[Claim]
    groups: Sequence[str]
    images: Json
    recipe: Json
    speeds: Sequence[Json]
    missing: Mapping[str, str]
    lineage: Sequence[Manifest]
    versions: Mapping[str, str]
    settings_yaml: str

    @property
    def share_of_matmul(self) -> float:
        """Operations per second of all training, as a share of the workers' matmul throughput in the same time."""
        seconds = sum(one["training_seconds"] for one in self.speeds)
        possible = sum(one["matmul_per_second"] * one["training_seconds"] for one in self.speeds)
        return sum(one["operations"] for one in self.speeds) / possible if seconds and possible else 0.0


def render(content: Content) -> dict[str, bytes]:
    """File name -> bytes: report.html and accuracy.png."""
    build = figure(content.results)
    html = template("report.html.j2", Path(__file__).parent).render(
        c=content, picture=picture(build), shown=shown, interval=interval, all=ALL, chance=CHANCE
    )
    return {"report.html": html.encode(), "accuracy.png": figures.png(build)}


def figure(results: Sequence[Result]) -> Callable[[Theme], "Figure"]:
    """One line per condition: mean and interval over all seeds, and the paper's figure as a ring."""

    def build(theme: Theme) -> "Figure":
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D

        drawn = Figure(figsize=(8.4, 1.1 + LINE * len(results)), layout="constrained")
        panel = drawn.subplots()
        for y, one in enumerate(results):
            found = one.accuracy[ALL]
            if found.low == found.low:  # not NaN
                panel.hlines(y, found.low, found.high, colors=theme.same, linewidth=2.4, alpha=0.6, zorder=2)
            panel.scatter(found.value, y, s=34, c=theme.same, linewidths=0, zorder=3)
            if one.published is not None:
                ring = {"facecolors": "none", "edgecolors": theme.cross, "linewidths": 1.4}
                panel.scatter(one.published, y, s=90, zorder=4, **ring)  # type: ignore[arg-type]
        panel.axvline(CHANCE, color=theme.faint, linewidth=0.8, linestyle=":")
        panel.set_yticks(range(len(results)), [label(one.name) for one in results])
        panel.set_ylim(len(results) - 0.5, -0.5)
        panel.set_xlim(0, 1)
        panel.set_xlabel("accuracy on the test digits; dotted: chance", fontsize=9)
        panel.tick_params(length=0, pad=8)
        panel.grid(axis="x", color=theme.line, linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[:].set_visible(False)
        marks = [
            Line2D([], [], marker="o", linestyle="", color=theme.same, markersize=6),
            Line2D([], [], marker="o", linestyle="", color=theme.cross, markerfacecolor="none", markersize=8),
        ]
        drawn.legend(
            marks, ["measured, 95 % interval over seeds", "in the paper"],
            loc="outside upper left", ncols=2, frameon=False, fontsize=9, handletextpad=0.2, columnspacing=1.4,
        )  # fmt: skip
        return drawn

    return build


def summary(content: Content) -> "Group":
    """Accuracy per condition and the claims as found, for a terminal."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    title = f"{content.name}: accuracy, 95 % interval over seeds"
    made = Table(title=Text(f"SMOKE TEST {title}" if content.smoke_test else title))
    made.add_column("condition", overflow="fold")
    for name in (*content.groups, "paper"):
        made.add_column(Text(name), justify="right")
    for one in content.results:
        published = "—" if one.published is None else f"{one.published:.0%}"
        made.add_row(Text(one.name), *(shown(one.accuracy[group], "\n") for group in content.groups), published)
    claims = [
        Text.assemble(
            ("✓ found     " if claim.holds else "✗ not found ", "green" if claim.holds else "yellow"),
            f"{claim.seeds}: {claim.text}",
        )
        for claim in content.claims
    ]
    return Group(made, *claims)
