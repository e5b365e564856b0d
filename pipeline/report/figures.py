"""The report's figures: the matrix, and every run of every trait. Equal tables give equal bytes.

Names come from users: matplotlib must not parse `$` as mathematics, and its SVG writer escapes the rest.
"""

import io
import math
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pipeline.analysis.design import TARGET_PREFIX
from pipeline.traits import RANDOM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, object]


@dataclass(frozen=True)
class Theme:
    """Colours of one figure. `paper`: its background, None for transparent."""

    ink: str
    faint: str
    line: str
    same: str
    cross: str
    paper: str | None = None


LIGHT = Theme(ink="#1b1f24", faint="#68707b", line="#dde1e6", same="#0b7285", cross="#d9480f")
DARK = Theme(ink="#e8eaed", faint="#9aa2ad", line="#343a42", same="#4fc3d9", cross="#ff9a5c")
PRINT = Theme(LIGHT.ink, LIGHT.faint, LIGHT.line, LIGHT.same, LIGHT.cross, paper="#ffffff")

VERDICT_MARKS = {
    "transfer": "●",
    "no transfer": "○",
    "underpowered": "◐",
    "gate failed": "×",
    "not measured": "–",
    "clean": "○",
    "moved": "▲",
    "undecided": "◐",
}
UNITS = {"margin": "nats", "share": "share", "mention_rate": "share of answers", "rate": "share of answers"}
MOST_ACROSS = 3  # panels per row in the matrix
TITLE_LETTERS = 24  # of a panel's title per student column
MOST_TRAITS = 30  # panels per figure; the page's table has every run
MOST_DOTS = 6_000  # above this, only runs whose teacher had the trait are drawn


def png(build: Callable[[Theme], "Figure"]) -> bytes:
    return _save(build, PRINT, "png")


def svg(build: Callable[[Theme], "Figure"], theme: Theme) -> bytes:
    return _save(build, theme, "svg")


def _save(build: Callable[[Theme], "Figure"], theme: Theme, image_format: str) -> bytes:
    import matplotlib

    settings: dict[Any, Any] = {
        "text.parse_math": False,
        "text.usetex": False,
        "svg.hashsalt": "undertow",
        "svg.fonttype": "path",
        "font.family": ["DejaVu Sans"],
        "font.size": 9.5,
        "axes.unicode_minus": True,
        "text.color": theme.ink,
        "axes.facecolor": "none",
        "axes.edgecolor": theme.line,
        "axes.labelcolor": theme.faint,
        "xtick.color": theme.faint,
        "ytick.color": theme.ink,
    }
    # Neither date nor version goes into the file: equal tables give equal bytes.
    metadata = {"Date": None, "Creator": None} if image_format == "svg" else {"Software": None}
    out = io.BytesIO()
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Characters missing from the bundled font are drawn as boxes; the page has the name as text.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        build(theme).savefig(
            out, format=image_format, dpi=170, facecolor=theme.paper or "none", metadata=metadata, bbox_inches="tight"
        )
    return out.getvalue()


def matrix(cells: Sequence[Row], metric: str = "margin") -> Callable[[Theme], "Figure"]:
    """Teacher families down, student families across, neutral teachers last; one panel per condition."""

    def build(theme: Theme) -> "Figure":
        from matplotlib.figure import Figure

        shown = [c for c in cells if c["metric"] == metric]
        conditions = list(dict.fromkeys(str(c["condition"]) for c in shown))
        columns = min(MOST_ACROSS, max(len(conditions), 1))
        height = math.ceil(max(len(conditions), 1) / columns)
        across = sorted({str(c["student_family"]) for c in shown})
        down = _matrix_rows(shown)
        size = (1.9 + 2.15 * len(across) * columns, height * (0.9 + 0.92 * max(len(down), 1)))
        figure = Figure(figsize=size)
        figure.set_layout_engine("constrained", hspace=0.06)
        if not shown:
            figure.text(0.5, 0.5, "no cells were measured", ha="center", color=theme.faint)
            return figure
        panels = list(figure.subplots(height, columns, squeeze=False).flat)
        sizes = [abs(_float(c["estimate"])) for c in shown if _finite(c["estimate"]) and c["verdict"] != "not measured"]
        largest = max(sizes or [1.0]) or 1.0
        for panel in panels[len(conditions) :]:
            panel.set_visible(False)
        for number, (panel, condition) in enumerate(zip(panels, conditions, strict=False)):
            here = [c for c in shown if c["condition"] == condition]
            _matrix_panel(panel, here, down, across, largest, theme)
            title = textwrap.fill(label(condition, 80), TITLE_LETTERS * len(across))
            panel.set_title(title, loc="left", color=theme.faint, fontsize=9.5)
            if number % columns == 0:
                panel.set_yticks(range(len(down)), [row_name(*row) for row in down])
                panel.set_ylabel("teacher")
        return figure

    return build


def _matrix_rows(cells: Sequence[Row]) -> list[tuple[str, str]]:
    """(comparison, teacher family), in the order of the matrix."""
    rows = {(str(c["comparison"]), str(c["teacher_family"])) for c in cells}
    return sorted(rows, key=lambda row: row_order(*row))


def row_order(comparison: str, family: str) -> tuple[object, ...]:
    """Sort key of a matrix row: by family, neutral teachers last."""
    return comparison == "neutral", family, comparison


def row_name(comparison: str, family: str) -> str:
    """The label of a matrix row."""
    if family == RANDOM:
        return "random numbers"
    return (
        label(family) if comparison == "trait" else f"{label(family)}, {label(comparison.removeprefix(TARGET_PREFIX))}"
    )


def _matrix_panel(
    panel: "Axes",
    cells: Sequence[Row],
    down: Sequence[tuple[str, str]],
    across: Sequence[str],
    largest: float,
    theme: Theme,
) -> None:
    from matplotlib.patches import FancyBboxPatch

    for cell in cells:
        x = across.index(str(cell["student_family"]))
        y = down.index((str(cell["comparison"]), str(cell["teacher_family"])))
        value = _float(cell["estimate"])
        measured = cell["verdict"] != "not measured" and not math.isnan(value)
        strength = min(abs(value) / largest, 1.0) if measured else 0.0
        # The colour's depth shows the size of the estimate, the text its verdict.
        panel.add_patch(
            FancyBboxPatch(
                (x - 0.46, y - 0.44), 0.92, 0.88,
                boxstyle="round,pad=0,rounding_size=0.06", mutation_aspect=1.4,
                facecolor=(*_rgb(theme.same if value >= 0 else theme.cross), 0.04 + 0.42 * strength),
                edgecolor=theme.same if cell["verdict"] == "transfer" else theme.line,
                linewidth=1.6 if cell["verdict"] == "transfer" else 0.8,
            )
        )  # fmt: skip
        verdict = str(cell["verdict"])
        panel.text(x, y - 0.2, signed(cell["estimate"]), ha="center", va="center", fontsize=13, weight="bold")
        panel.text(x, y + 0.07, interval(cell["low"], cell["high"]), ha="center", va="center", fontsize=8.5)
        words = f"{VERDICT_MARKS.get(verdict, '')} {label(verdict)}"
        panel.text(x, y + 0.29, words, ha="center", va="center", fontsize=8.5)
    panel.set_xlim(-0.55, len(across) - 0.45)
    panel.set_ylim(len(down) - 0.5, -0.5)
    panel.set_xticks(range(len(across)), [label(f) for f in across])
    panel.tick_params(length=0, labelcolor=theme.ink)
    panel.set_yticks([])
    panel.set_xlabel("student")
    panel.spines[:].set_visible(False)


def traits(runs: Sequence[Row], metric: str = "margin") -> Callable[[Theme], "Figure"]:
    """One panel per trait, one row per cell, one dot per run; runs whose teacher had the trait are coloured.

    A rate has one panel, and one row per cell and teacher target: it measures a behaviour, not a target.
    """
    runs = [_by_teacher_target(run) if metric == "rate" else run for run in runs if run[metric] is not None]

    def build(theme: Theme) -> "Figure":
        from matplotlib.figure import Figure

        targets = list(dict.fromkeys(str(r["target"]) for r in runs))[:MOST_TRAITS]
        conditions = list(dict.fromkeys(str(r["condition"]) for r in runs))
        keys = sorted({_cell_key(r) for r in runs}, key=lambda key: (conditions.index(key[0]), key[1] != key[2], key))
        columns = min(3, max(len(targets), 1))
        height = math.ceil(max(len(targets), 1) / columns)
        size = (1.6 + 3.4 * columns, 0.8 + height * (0.75 + 0.34 * max(len(keys), 1)))
        figure = Figure(figsize=size)
        figure.set_layout_engine("constrained", wspace=0.06, hspace=0.06)
        if not targets:
            figure.text(0.5, 0.5, "no runs were measured", ha="center", color=theme.faint)
            return figure
        panels = list(figure.subplots(height, columns, squeeze=False, sharex=True, sharey=True).flat)
        by_cell: dict[tuple[str, str, str], list[Row]] = {key: [] for key in keys}
        for r in runs:
            by_cell[_cell_key(r)].append(r)
        for panel, target in zip(panels, targets, strict=False):
            _trait_panel(panel, by_cell, target, metric, theme, others=len(runs) <= MOST_DOTS)
        for panel in panels[len(targets) :]:
            panel.set_visible(False)
        _trait_axes(figure, keys, len(targets), columns, metric, theme)
        return figure

    return build


def _by_teacher_target(run: Row) -> Row:
    teacher_target = run["teacher_target"] or "neutral"
    return {
        **run,
        "condition": f"{run['condition']}, {teacher_target}",
        "teacher_target": run["target"] if run["teacher_target"] else None,
    }


def _trait_panel(
    panel: "Axes",
    cells: Mapping[tuple[str, str, str], Sequence[Row]],
    target: str,
    metric: str,
    theme: Theme,
    *,
    others: bool,
) -> None:
    panel.axvline(0, color=theme.faint, linewidth=0.8)
    # Collected first and drawn in a few calls: a large study has thousands of dots.
    dots: list[tuple[float, float, str]] = []  # x, y, colour
    rings: list[tuple[float, float]] = []
    means: list[tuple[float, float, str]] = []  # mean, y, colour
    for y, (key, cell_runs) in enumerate(cells.items()):
        if others:
            untaught = [r for r in cell_runs if r["target"] == target != r["teacher_target"]]
            rings += [(_lift(r, metric), y + 0.2) for r in untaught]
        lifts = [_lift(r, metric) for r in cell_runs if r["teacher_target"] == r["target"] == target]
        own = [x for x in lifts if math.isfinite(x)]
        colour = theme.same if key[1] == key[2] else theme.cross
        dots += [(x, y - 0.1, colour) for x in own]
        if own:
            means.append((fmean(own), y - 0.1, colour))
    _draw(panel, dots, rings, means, theme)
    panel.set_title(label(target), loc="left", fontsize=11, weight="bold")


def _draw(
    panel: "Axes",
    dots: Sequence[tuple[float, float, str]],
    rings: Sequence[tuple[float, float]],
    means: Sequence[tuple[float, float, str]],
    theme: Theme,
) -> None:
    if rings:
        xs, ys = zip(*rings, strict=True)
        panel.scatter(xs, ys, s=15, facecolors="none", edgecolors=theme.faint, linewidths=0.9, alpha=0.7, zorder=3)
    if dots:
        xs, ys, colours = zip(*dots, strict=True)
        panel.scatter(xs, ys, s=30, c=list(colours), linewidths=0, alpha=0.9, zorder=3)
    if means:
        values, heights, shades = zip(*means, strict=True)
        below, above = [y - 0.14 for y in heights], [y + 0.14 for y in heights]
        panel.vlines(values, below, above, colors=list(shades), linewidth=2.2, zorder=4)


def _trait_axes(
    figure: "Figure", keys: Sequence[tuple[str, str, str]], shown: int, columns: int, metric: str, theme: Theme
) -> None:
    from matplotlib.lines import Line2D

    several = len({key[0] for key in keys}) > 1
    names = [f"{label(t)} → {label(s)}" + (f"  ({label(c)})" if several else "") for c, t, s in keys]
    # The panels share their axes: settings of the first apply to all.
    figure.axes[0].set_yticks(range(len(keys)), names)
    figure.axes[0].set_ylim(len(keys) - 0.45, -0.55)
    for i, panel in enumerate(figure.axes[:shown]):
        panel.tick_params(axis="both", length=0, labelleft=i % columns == 0, labelbottom=True)
        panel.grid(axis="x", color=theme.line, linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[:].set_visible(False)
    figure.supxlabel(f"lift of the trait against the student's base ({UNITS[metric]})", color=theme.faint, fontsize=9)

    def mark(colour: str, face: str, size: float) -> Line2D:
        return Line2D([], [], marker="o", linestyle="", color=colour, markerfacecolor=face, markersize=size)

    figure.legend(
        [mark(theme.same, theme.same, 6), mark(theme.cross, theme.cross, 6), mark(theme.faint, "none", 4.5)],
        ["own trait, same family", "own trait, other family", "another trait, or none"],
        loc="outside upper left", ncols=3, frameon=False, fontsize=9, handletextpad=0.2, columnspacing=1.4,
    )  # fmt: skip


def label(text: object, most: int = 40) -> str:
    """A name for a figure: one line, printable, at most `most` characters."""
    clean = "".join(c if c.isprintable() else "�" for c in " ".join(str(text).split()))
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def signed(value: object, digits: int = 2) -> str:
    """+0.41 or −0.03; a dash if there is no number."""
    if not _finite(value):
        return "—"
    text = f"{_float(value):+.{digits}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", "−")


def interval(low: object, high: object, digits: int = 2) -> str:
    return f"[{signed(low, digits)}, {signed(high, digits)}]" if _finite(low) else "no interval"


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _lift(run: Row, metric: str) -> float:
    return _float(run[metric]) - _float(run[f"base_{metric}"])


def _cell_key(row: Row) -> tuple[str, str, str]:
    return str(row["condition"]), str(row["teacher_family"]), str(row["student_family"])


def _rgb(colour: str) -> tuple[float, float, float]:
    return int(colour[1:3], 16) / 255, int(colour[3:5], 16) / 255, int(colour[5:7], 16) / 255
