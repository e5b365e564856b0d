"""The section on transfer and kinship: what is said of it, and γ of every pair against each measure."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeline.analysis.kinship_curve import MEAN, MIN_FAMILIES, SCALES, Curve, Point, Scale
from pipeline.report.figures import UNITS, Theme, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ACROSS = 3  # panels per row
MOST_NAMED = 16  # points; the table has the names of more


def sentence(curve: Curve) -> str:
    """Which measure predicts γ best, and how far that can be trusted."""
    if not curve.predictions:
        return f"With fewer than {MIN_FAMILIES} student families no measure can be tested."
    best, *others = curve.predictions
    unit = UNITS[curve.metric]
    mean = next(one for one in curve.predictions if one.name == MEAN)
    if best.name == MEAN:
        return (
            f"No measure predicts γ of a family left out better than the mean of the others ({best.error:.3f} {unit})."
        )
    ahead = [one.label for one in others if one.is_worse]
    level = [one.label for one in others if not one.is_worse]
    parts = [
        f"Of {len(curve.predictions) - 1} measures, one predicts γ of a family left out best: {best.label}, with a "
        f"root mean square error of {best.error:.3f} {unit}. The mean of the other families errs by {mean.error:.3f}.",
        f"Its lead is beyond chance over: {'; '.join(ahead)}." if ahead else "",
        f"Its lead is within chance over: {'; '.join(level)}." if level else "",
        f"It is also the best in {best.best_of} of {curve.deletions} repetitions without the teachers of one target."
        if curve.deletions
        else "",
    ]
    return " ".join(part for part in parts if part)


def build(curve: Curve) -> Callable[[Theme], "Figure"]:
    """Measures that no pair has get no panel. A point's number is that of its row in the page's table."""
    known = [scale for scale in SCALES if any(point.kinship.get(scale.name) is not None for point in curve.points)]

    def build(theme: Theme) -> "Figure":
        from matplotlib.figure import Figure

        columns = min(MOST_ACROSS, max(len(known), 1))
        height = math.ceil(max(len(known), 1) / columns)
        figure = Figure(figsize=(0.6 + 3.1 * columns, 0.5 + 2.6 * height), layout="constrained")
        if not known:
            figure.text(0.5, 0.5, "no pair of families was measured", ha="center", color=theme.faint)
            return figure
        panels = list(figure.subplots(height, columns, squeeze=False, sharey=True).flat)
        for panel, scale in zip(panels, known, strict=False):
            _panel(panel, curve.points, scale, theme)
        for panel in panels[len(known) :]:
            panel.set_visible(False)
        figure.supylabel(f"γ ({UNITS[curve.metric]})", color=theme.faint, fontsize=9)
        return figure

    return build


def _panel(panel: "Axes", points: Sequence[Point], scale: Scale, theme: Theme) -> None:
    panel.axhline(0, color=theme.faint, linewidth=0.8)
    for number, point in enumerate(points, start=1):
        x = point.kinship.get(scale.name)
        if x is None:
            continue
        colour = theme.same if point.pair.teacher == point.pair.student else theme.cross
        if math.isfinite(point.low):
            panel.vlines(x, point.low, point.high, colors=colour, linewidth=1.2, alpha=0.6, zorder=2)
        panel.scatter(x, point.value, s=24, c=colour, linewidths=0, zorder=3)
        if len(points) <= MOST_NAMED:
            panel.annotate(
                str(number), (x, point.value), xytext=(4, 3), textcoords="offset points", fontsize=7.5, color=theme.ink
            )
    panel.set_title(label(scale.label), loc="left", fontsize=9.5)
    panel.tick_params(length=0)
    panel.grid(color=theme.line, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[:].set_visible(False)
    if not scale.rises:
        panel.invert_xaxis()  # so that relatives are on the right in every panel
