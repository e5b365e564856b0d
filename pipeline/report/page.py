"""transfer -> report: one self-contained page, and its figures as PNG.

The page loads nothing, runs no script, and shows nothing but `ReportContent`: equal content gives equal
bytes. All names in it come from users, so the template escapes everything.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.analysis.design import TARGET_PREFIX, RunKey
from pipeline.analysis.kinship_curve import SCALES, Curve
from pipeline.analysis.screened import Agreement
from pipeline.report import figures, headlines, kinship_section, paper_figure
from pipeline.report.figures import interval, signed
from pipeline.report.origins import MOST_INPUTS, MOST_LINKS, Origins, path
from pipeline.report.template import template
from pipeline.screens import SCREENS

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

Row = Mapping[str, object]

METRIC_NAMES = {
    "margin": "log-probability margin (nats)",
    "share": "share of probability",
    "mention_rate": "share of answers that name it",
    "rate": "share of answers that show it",
}
DIGITS = {"margin": 2, "share": 3, "mention_rate": 3, "rate": 3}  # decimals in the matrix
STYLES = {  # of verdicts, in a terminal
    "transfer": "bold green",
    "no transfer": "cyan",
    "clean": "cyan",
    "moved": "red",
    "underpowered": "yellow",
    "undecided": "yellow",
    "gate failed": "red",
    "not measured": "magenta",
}
MOST_ROWS = 5_000  # in the table of runs; above this, only each run's own trait


@dataclass(frozen=True)
class ReportContent:
    """Everything that the page shows.

    runs, cells   tables of the schemas RUNS and CELLS
    gates         teacher, target, before, after, threshold, passed; mass: the lower of base and teacher, or None
    corpora       teacher, raw_rows, accepted, share, reasons {reason: rows}
    stages        stage, steps, seconds (work, summed over steps), wall (seconds, first start to last end),
                  busy (seconds in which at least one of its steps ran), prompt_tokens, tokens (generated or trained on)
    lineage       kind, name, id, digest, inputs [ids], seconds; `runs.student` refers to its ids
    failures      step, why: steps that failed, were blocked, or are missing
    suites        name -> description of its questions
    confidence    level of the intervals
    looks         earlier matrices over some of these runs, which share α with this one
    primary       suite and metric that carry the study's claims
    masses        total probability of the candidates, from `mass.summary`; min_mass: the least that gives a verdict
    paper_results results in the paper next to measured ones, from `paper_results.comparison`
    side_metrics  measurements without a verdict, from `side_metrics.lifts`
    contrasts     changes made by the later arms, from `contrasts.against_first`
    kinship       γ against how alike the families are, from `kinship_curve.curve`; None if that was not measured
    screened      how well screens of the corpora predicted the lifts, from `screened.agreements`
    """

    study_name: str
    settings_yaml: str
    smoke_test: bool
    runs: pa.Table
    cells: pa.Table
    gates: Sequence[Row] = ()
    corpora: Sequence[Row] = ()
    stages: Sequence[Row] = ()
    lineage: Sequence[Row] = ()
    suites: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    failures: Sequence[Row] = ()
    confidence: float = 0.95
    looks: Sequence[str] = ()
    primary: tuple[str, str] = ("", "")
    masses: Sequence[Row] = ()
    min_mass: float = 0.0
    paper_results: Sequence[Row] = ()
    side_metrics: Sequence[Row] = ()
    contrasts: Sequence[Row] = ()
    kinship: Curve | None = None
    screened: Sequence[Agreement] = ()


def render(content: ReportContent) -> dict[str, bytes]:
    """File name -> bytes: report.html, matrix.png, traits.png; paper.png and kinship.png if there is such a section."""
    cells, runs = content.cells.to_pylist(), content.runs.to_pylist()
    varied = _varied([*cells, *runs])
    cells, runs = _conditioned(cells, varied), _conditioned(runs, varied)
    metric = _leading(cells)
    matrix, traits = figures.matrix(cells, metric), figures.traits(runs, metric)
    paper = paper_figure.build(content.paper_results) if content.paper_results else None
    kinship = kinship_section.build(content.kinship) if content.kinship else None
    origins = Origins(content.lineage)
    html = template("report.html.j2").render(
        c=content,
        headlines=headlines.from_cells(cells, content.confidence),
        sections=_sections(cells, content.suites),
        cells=_anchored(cells, runs, origins),
        runs=_shown(runs),
        all_rows=len(runs),
        origins=origins,
        anchors=origins.anchors,
        path=path,
        most_inputs=MOST_INPUTS,
        most_links=MOST_LINKS,
        matrix_picture=picture(matrix),
        traits_picture=picture(traits),
        paper_picture=picture(paper) if paper else None,
        kinship_picture=picture(kinship) if kinship else None,
        kinship_sentence=kinship_section.sentence(content.kinship) if content.kinship else "",
        scales=SCALES,
        screens=SCREENS,
        metric=metric,
        metric_names=METRIC_NAMES,
        digits=DIGITS,
        interval=interval,
        several_settings=len({c["setting"] for c in cells}) > 1,
        several_conditions=len({c["condition"] for c in cells}) > 1,
        marks=figures.VERDICT_MARKS,
        level=f"{100 * content.confidence:.3g}%",
        longest=max([_number(s["seconds"]) for s in content.stages] or [0.0]) or 1.0,
        most_traits=figures.MOST_TRAITS,
        most_dots=figures.MOST_DOTS,
        traits_count=len({r["target"] for r in runs}),
        paper_count=len({r["target"] for r in content.paper_results}),
    )
    return {
        "report.html": html.encode(),
        "matrix.png": figures.png(matrix),
        "traits.png": figures.png(traits),
        **({"paper.png": figures.png(paper)} if paper else {}),
        **({"kinship.png": figures.png(kinship)} if kinship else {}),
    }


def _shown(runs: list[Row]) -> list[Row]:
    """The runs of the page's table: all, or those of the teachers' own targets if there are too many."""
    if len(runs) <= MOST_ROWS:
        return runs
    return [run for run in runs if run["teacher_target"] == run["target"] or run["rate"] is not None]


def _varied(rows: Sequence[Row]) -> list[str]:
    """The keys besides the channel that have more than one value."""
    return [key for key in ("arm", "suite") if len({row[key] for row in rows}) > 1]


def _conditioned(rows: Sequence[Row], varied: Sequence[str]) -> list[Row]:
    """The rows, each with the name of its condition: the channel, with arm and suite if these vary.

    `setting` is the same without the suite, for tables of a single suite.
    """

    def name(row: Row, keys: Sequence[str]) -> str:
        return ", ".join(str(row[key]) for key in ("channel", *keys))

    without = [key for key in varied if key != "suite"]
    return [{**row, "condition": name(row, varied), "setting": name(row, without)} for row in rows]


def _leading(cells: Sequence[Row]) -> str:
    """The metric of the figures: the first that gives a verdict in any suite."""
    return next((metric for metric in METRIC_NAMES if any(cell["metric"] == metric for cell in cells)), "margin")


def matrix_table(cells: pa.Table) -> "Table":
    """The matrix for a terminal: teachers down, students across, neutral teachers last."""
    from rich.table import Table
    from rich.text import Text

    listed = cells.to_pylist()
    rows, metric = _conditioned(listed, _varied(listed)), _leading(listed)
    view = _matrix(rows, metric, "condition")
    table = Table(title=Text(f"Transfer, {METRIC_NAMES[metric]}"), show_lines=True)
    for name in ("condition", "teacher \\ student", *view.across):
        table.add_column(Text(figures.label(name)))
    for line in view.lines:
        # Text, not str: brackets in a name are not markup.
        entries = [Text(figures.label(line.condition)), Text(line.teacher)]
        for i in line.cells:
            cell = rows[i] if i is not None else None
            entries.append(
                Text("—")
                if cell is None
                else Text.assemble(
                    (signed(cell["estimate"], DIGITS[metric]), "bold"),
                    f" {interval(cell['low'], cell['high'], DIGITS[metric])}\n",
                    (str(cell["verdict"]), STYLES.get(str(cell["verdict"]), "")),
                )
            )
        table.add_row(*entries)
    return table


@dataclass(frozen=True)
class Line:
    """One row of the matrix; `cells` are indices into the table of cells, None if none was planned."""

    condition: str
    comparison: str
    teacher: str
    cells: list[int | None]


@dataclass(frozen=True)
class Matrix:
    metric: str
    across: list[str]  # student families
    lines: list[Line]


@dataclass(frozen=True)
class Section:
    """The matrices of one suite. note: description of its questions."""

    suite: str
    note: str
    matrices: list[Matrix]


def _sections(cells: Sequence[Row], notes: Mapping[str, str]) -> list[Section]:
    """One section per suite, in the study's order, with one matrix per metric."""
    suites = dict.fromkeys(str(c["suite"]) for c in cells)
    metrics = {suite: {str(c["metric"]) for c in cells if c["suite"] == suite} for suite in suites}
    return [
        Section(
            suite,
            notes.get(suite, ""),
            [_matrix(cells, metric, "setting", suite) for metric in METRIC_NAMES if metric in metrics[suite]],
        )
        for suite in suites
    ]


def _matrix(cells: Sequence[Row], metric: str, condition_key: str, suite: str | None = None) -> Matrix:
    """condition_key: "condition" or "setting". suite: the only one shown; None for all."""
    places = {
        (str(c[condition_key]), str(c["comparison"]), str(c["teacher_family"]), str(c["student_family"])): i
        for i, c in enumerate(cells)
        if c["metric"] == metric and suite in (None, c["suite"])
    }
    across = sorted({student for *_, student in places})
    conditions = list(dict.fromkeys(condition for condition, *_ in places))
    rows = sorted({key[:3] for key in places}, key=lambda row: (conditions.index(row[0]), figures.row_order(*row[1:])))
    return Matrix(
        metric,
        across,
        [
            Line(
                condition,
                comparison,
                figures.row_name(comparison, teacher),
                [places.get((condition, comparison, teacher, student)) for student in across],
            )
            for condition, comparison, teacher in rows
        ],
    )


def _anchored(cells: Sequence[Row], runs: Sequence[Row], origins: Origins) -> list[dict[str, object]]:
    """Every cell with its anchor, its students (trained runs) and their corpora, `data`; both as {id: short name}."""
    place = ("condition", "teacher_family", "student_family")
    students: dict[tuple[object, ...], dict[str, str]] = {}
    for r in runs:
        own = "neutral" if r["teacher_target"] is None else f"{TARGET_PREFIX}{r['teacher_target']}"
        for comparison in ("trait", own):
            names = students.setdefault((comparison, *(r[k] for k in place)), {})
            names[str(r["student"])] = RunKey(r["teacher_target"], r["corpus"], r["seed"]).name  # type: ignore[arg-type]
    found = [students.get((cell["comparison"], *(cell[k] for k in place)), {}) for cell in cells]
    return [
        {**cell, "anchor": f"cell-{i}", "students": names, "data": origins.corpora(names)}
        for i, (cell, names) in enumerate(zip(cells, found, strict=True))
    ]


def picture(build: Callable[[figures.Theme], "Figure"]) -> dict[str, str]:
    """SVG as data URIs, for both colour schemes. An image can neither run nor load anything."""
    return {
        name: "data:image/svg+xml;base64," + base64.b64encode(figures.svg(build, theme)).decode()
        for name, theme in (("light", figures.LIGHT), ("dark", figures.DARK))
    }


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
