"""The figures of the theorem: departure from the first-order value, and shares of negative products, against ε."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeline.experiments.theorem.conditions import ALL_WEIGHTS, OUTSIDE, THEOREM
from pipeline.experiments.theorem.settings import Criteria
from pipeline.experiments.theorem.summary import ALL_NETWORKS, Group
from pipeline.report.figures import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))
MARKERS = "osD^vP*X"
EPSILON = "ε, length of the teacher's step"


def departure(groups: Sequence[Group], criteria: Criteria) -> Callable[[Theme], "Figure"]:
    """|ratio − 1| against ε, a panel per student's loss: the median of each network, and its largest value above it."""
    shown = [group for group in groups if group.condition == THEOREM and group.network != ALL_NETWORKS]

    def build(theme: Theme) -> "Figure":
        from matplotlib.figure import Figure

        imitations = list(dict.fromkeys(group.imitation for group in shown))
        figure = Figure(figsize=(4.4 * len(imitations), 3.9), layout="constrained")
        panels = figure.subplots(1, len(imitations), sharey=True, squeeze=False)[0]
        for panel, imitation in zip(panels, imitations, strict=True):
            _departures(panel, [group for group in shown if group.imitation == imitation], theme)
            panel.axhline(criteria.ratio, color=theme.cross, linewidth=0.9, linestyle="--")
            panel.axvline(criteria.step, color=theme.cross, linewidth=0.9, linestyle="--")
            panel.set_title(f"student's loss: {imitation}", loc="left", color=theme.faint, fontsize=9.5)
            panel.set_yscale("log")
            _dress(panel, theme)
        panels[0].set_ylabel("|inner product / first-order value − 1|", fontsize=9)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=len(labels), frameon=False, fontsize=9)
        return figure

    return build


def _departures(panel: "Axes", groups: Sequence[Group], theme: Theme) -> None:
    for number, network in enumerate(dict.fromkeys(group.network for group in groups)):
        own = [group for group in groups if group.network == network]
        steps = [group.step for group in own]
        values = [group.departure for group in own if group.departure is not None]
        middle, largest = [value.median for value in values], [value.largest for value in values]
        panel.plot(
            steps, middle, color=theme.same, linestyle=STYLES[number % len(STYLES)], linewidth=1.4, label=network,
            marker=MARKERS[number % len(MARKERS)], markersize=4.5,
        )  # fmt: skip
        panel.vlines(steps, middle, largest, colors=theme.same, linewidth=0.7, alpha=0.6)
        panel.scatter(steps, largest, marker="_", s=40, color=theme.same, linewidths=1)


def negative(groups: Sequence[Group]) -> Callable[[Theme], "Figure"]:
    """The share of negative products of all networks against ε, with its interval: a line per condition and loss."""
    shown = [group for group in groups if group.network == ALL_NETWORKS and group.condition != ALL_WEIGHTS]

    def build(theme: Theme) -> "Figure":
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.8, 4.6), layout="constrained")
        panel = figure.subplots()
        lines = list(dict.fromkeys((group.condition, group.imitation) for group in shown))
        for number, (condition, imitation) in enumerate(lines):
            own = [group for group in shown if (group.condition, group.imitation) == (condition, imitation)]
            bars = [[max(g.share - g.low, 0) for g in own], [max(g.high - g.share, 0) for g in own]]
            panel.errorbar(
                [group.step for group in own], [group.share for group in own], bars, label=line(condition, imitation),
                color=theme.same if condition == THEOREM else theme.cross, capsize=2, linewidth=1.3, markersize=5,
                linestyle=STYLES[number % len(STYLES)], marker=MARKERS[number % len(MARKERS)],
            )  # fmt: skip
        panel.axhline(0.5, color=theme.faint, linewidth=0.8, linestyle=":")
        panel.set_ylim(-0.03, 1.03)
        panel.set_ylabel("share of negative inner products", fontsize=9)
        _dress(panel, theme)
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
        return figure

    return build


def line(condition: str, imitation: str) -> str:
    """The name of a condition and a student's loss."""
    return imitation if condition == OUTSIDE else f"{condition}, {imitation}"


def _dress(panel: "Axes", theme: Theme) -> None:
    from matplotlib.ticker import FuncFormatter

    panel.set_xscale("log")
    panel.set_xlabel(EPSILON, fontsize=9)
    panel.tick_params(which="both", length=0)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # the usual one writes mathematics
    panel.grid(color=theme.line, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[:].set_visible(False)
