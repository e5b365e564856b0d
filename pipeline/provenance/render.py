"""A lineage for people: an indented list, a Mermaid diagram, and a picture."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import visible
from pipeline.core.lineage_graph import Graph, Reached

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LETTERS = 48  # of a name in a diagram
PICTURED = 200  # nodes; more cannot be told apart
COLOURS = {
    "model": "#4477aa",
    "data set": "#228833",
    "judge": "#aa3377",
    "prompt": "#ccbb44",
    "external source": "#888888",
}


def as_lines(start: str, reached: Sequence[Reached]) -> list[str]:
    """One line per node that was reached from `start`, by generation."""
    lines = [start]
    for one in reached:
        share = "" if one.via.share is None else f", {one.via.share:.0%} of its rows"
        lines.append(
            f"  {one.generations}  {one.node.kind}  {one.node.id}\n"
            f"       {one.via.child} {one.via.relation} it ({one.via.evidence}{share}: {one.via.source})"
        )
    return [visible(line) for line in lines]


def as_mermaid(graph: Graph) -> str:
    """A flowchart, from parents to children. Edges without measurement or attestation are dashed."""
    number = {node: f"n{index}" for index, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    lines += [f'  {number[n.id]}["{_escaped(_short(n.id))}<br/><i>{n.kind}</i>"]' for n in graph.nodes.values()]
    for edge in graph.strongest():
        arrow = "-->" if edge.evidence in ("measured", "attested") else "-.->"
        lines.append(f'  {number[edge.parent]} {arrow}|"{edge.relation} ({edge.evidence})"| {number[edge.child]}')
    return "\n".join(lines) + "\n"


def draw(graph: Graph, path: Path) -> None:
    """Write the picture of `as_svg` to a file."""
    path.write_bytes(as_svg(graph))


def as_svg(graph: Graph) -> bytes:
    """An SVG: ancestors left, descendants right. Of a large graph, the nodes with most edges."""
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "undertow"}):  # with this and without a date, equal graphs, equal bytes
        _figure(graph).savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _figure(graph: Graph) -> "Figure":
    import networkx
    from matplotlib.figure import Figure

    whole = networkx.DiGraph((edge.parent, edge.child) for edge in graph.edges)
    whole.add_nodes_from(graph.nodes)
    kept = sorted(whole, key=lambda node: -whole.degree(node))[:PICTURED]
    shown = whole.subgraph(kept)
    columns = _columns(shown)
    tallest = max((sum(1 for node in shown if columns[node] == column) for column in set(columns.values())), default=1)
    figure = Figure(figsize=(4 + 3.2 * len(set(columns.values())), 1.5 + 0.45 * tallest))
    axes = figure.add_axes((0.0, 0.0, 1.0, 0.95))
    axes.axis("off")
    places = _places(columns)
    for parent, child in shown.edges:
        arrow = {"arrowstyle": "->", "color": "#999999", "shrinkA": 4, "shrinkB": 4}
        axes.annotate("", places[child], places[parent], arrowprops=arrow)
    for node, (x, y) in places.items():
        axes.plot(x, y, "o", color=COLOURS[graph.nodes[node].kind])
        axes.text(x, y + 0.12, _short(visible(node)), fontsize=7, ha="center", va="bottom", parse_math=False)
    for kind, colour in COLOURS.items():
        axes.plot([], [], "o", color=colour, label=kind)
    axes.legend(loc="upper left", fontsize=7, frameon=False)
    axes.margins(0.15)
    note = f"{len(kept)} of {len(whole)} nodes" if len(kept) < len(whole) else ""
    axes.set_title(note, fontsize=8)
    return figure


def _columns(shown: Any) -> dict[str, int]:
    """Node -> the length of the longest way to it from a node without parents; nodes of a cycle share a column."""
    import networkx

    groups = networkx.condensation(shown)
    column: dict[int, int] = {}
    for group in networkx.topological_sort(groups):
        column[group] = max((column[before] + 1 for before in groups.predecessors(group)), default=0)
    return {node: column[group] for group, data in groups.nodes(data=True) for node in data["members"]}


def _places(columns: dict[str, int]) -> dict[str, tuple[float, float]]:
    rows: dict[int, int] = {}
    places = {}
    for node in sorted(columns):
        row = rows[columns[node]] = rows.get(columns[node], -1) + 1
        places[node] = (float(columns[node]), -float(row))
    return places


def _short(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS // 2]}…{text[-LETTERS // 2 :]}"


def _escaped(text: str) -> str:
    """Without what Mermaid or a browser would act on."""
    replaced = {"&": "&amp;", '"': "&quot;", "<": "&lt;", ">": "&gt;", "#": "&num;", "`": "&grave;"}
    return "".join(replaced.get(letter, letter) for letter in visible(text))
