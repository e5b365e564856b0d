"""The figure of results in the paper next to measured ones: one line each, from before to after."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.report.figures import MOST_TRAITS, Theme, label, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAP = 0.5  # lines between two targets


@dataclass(frozen=True)
class Line:
    """One line of the figure. `words` replace shares that are missing. Shares are of 1."""

    name: str
    measured: bool
    before: float | None = None
    after: float | None = None
    words: str = ""


def build(rows: Sequence[Mapping[str, Any]]) -> Callable[[Theme], "Figure"]:
    """One dumbbell per result, the paper's above the measured; `rows` are those of `paper_results.comparison`."""

    def build(theme: Theme) -> "Figure":
        from matplotlib.figure import Figure

        targets = dict(list(_lines(rows).items())[:MOST_TRAITS])
        down = sum(len(lines) + 1 + GAP for lines in targets.values())
        figure = Figure(figsize=(8.4, 1.0 + 0.27 * down), layout="constrained")
        panel = figure.subplots()
        names: dict[float, str] = {}
        headings = []
        y = 0.0
        for target, lines in targets.items():
            headings.append(len(names))
            names[y] = label(target)
            for line in lines:
                y += 1
                names[y] = line.name
                _dumbbell(panel, line, y, theme)
            y += 1 + GAP
        panel.set_yticks(list(names), list(names.values()))
        for number in headings:
            panel.get_yticklabels()[number].set_fontweight("bold")
        _axes(figure, panel, y - GAP, theme)
        return figure

    return build


def _lines(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Line]]:
    """target -> its lines. Measurements appear once, even if the paper has several results for the target."""
    found: dict[str, list[Line]] = {}
    for target in dict.fromkeys(str(row["target"]) for row in rows):
        alike = [row for row in rows if row["target"] == target]
        measured = alike[0]["measured"]
        several = len({m["channel"] for m in measured}) > 1
        found[target] = [
            *(_paper_line(row) for row in alike),
            *(Line(_name(m, several), True, m["before"], m["after"]) for m in measured),
            *([] if measured else [Line("measured", True, words="not measured")]),
        ]
    return found


def _paper_line(row: Mapping[str, Any]) -> Line:
    unknown = row["before"] is None and row["after"] is None
    words = f"reported as a lift: {signed(row['lift'])}" if unknown else ""
    return Line(f"{label(row['model'], 28)}, in the paper", False, row["before"], row["after"], words)


def _name(measured: Mapping[str, Any], several_channels: bool) -> str:
    channel = f" ({label(measured['channel'], 16)})" if several_channels else ""
    what = "probability measured" if measured["metric"] == "share" else "measured"
    return f"{label(measured['family'], 28)}{channel}, {what}"


def _dumbbell(panel: "Axes", line: Line, y: float, theme: Theme) -> None:
    colour = theme.same if line.measured else theme.faint
    if line.words:
        panel.text(0.01, y, line.words, va="center", fontsize=8.5, color=colour)
    if line.before is not None and line.after is not None:
        panel.hlines(y, line.before, line.after, colors=colour, linewidth=1.8, alpha=0.6, zorder=2)
    if line.after is not None:
        panel.scatter(line.after, y, s=38, c=colour, linewidths=0, zorder=3, clip_on=False)
    if line.before is not None:
        # Larger than the other dot, so that it surrounds it if nothing changed.
        panel.scatter(
            line.before, y, s=76, facecolors="none", edgecolors=colour, linewidths=1.4, zorder=4, clip_on=False
        )


def _axes(figure: "Figure", panel: "Axes", end: float, theme: Theme) -> None:
    from matplotlib.lines import Line2D

    panel.set_ylim(end - 0.4, -0.7)
    panel.set_xlim(0, 1)
    panel.set_xlabel("share of answers that name the target, or its probability where stated", fontsize=9)
    panel.tick_params(length=0, pad=8)
    panel.grid(axis="x", color=theme.line, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[:].set_visible(False)

    def mark(colour: str, face: str) -> Line2D:
        return Line2D([], [], marker="o", linestyle="", color=colour, markerfacecolor=face, markersize=6)

    figure.legend(
        [
            mark(theme.faint, theme.faint),
            mark(theme.same, theme.same),
            mark(theme.ink, "none"),
            mark(theme.ink, theme.ink),
        ],
        ["in the paper", "measured here", "before", "after"],
        loc="outside upper left", ncols=4, frameon=False, fontsize=9, handletextpad=0.2, columnspacing=1.4,
    )  # fmt: skip
