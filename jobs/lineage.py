"""`undertow lineage`: gathers what roots, folders and files say, and shows the ancestry of one thing in it."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pipeline.core.errors import InputError
from pipeline.provenance import card, lineage_file, manifests, render
from pipeline.provenance.graph import EVIDENCE, Graph, Reached
from pipeline.stages import lineage_of
from pipeline.store import artifact, open_store
from pipeline.store.root import MARKER
from pipeline.store.step import KINDS

FILES = (".yaml", ".yml", ".json")
MOST_PROBLEMS = 20  # lines on the terminal; the files have all
OUTPUTS = ("lineage.json", "lineage.mmd", "lineage.svg")


def show(console: Console, targets: Sequence[str], of: str | None, learned_from: str | None, out: Path | None) -> Graph:
    """Print a lineage and write its files.

    of: the node whose ancestors are listed, by default the target if it is one thing. learned_from: the node whose
    descendants are listed instead. Raises InputError if a target or a node is unknown.
    """
    graph, single = gather(targets)
    start = node_of(graph, of or learned_from or single)
    if start is None:
        _summarise(console, graph)
    else:
        reached = graph.descendants(start) if learned_from else graph.ancestors(start)
        for line in render.as_lines(start, reached):
            console.print(Text(line), soft_wrap=True)
        if not reached:
            console.print(f"Nothing is known to {'have learned from it' if learned_from else 'have gone into it'}.")
        graph = _part(graph, start, reached)
    _tell_problems(console, graph)
    if out is not None:
        _write(graph, out)
        console.print(f"{', '.join(str(out / name) for name in OUTPUTS)}", highlight=False, soft_wrap=True)
    return graph


def gather(targets: Sequence[str]) -> tuple[Graph, str | None]:
    """The graph of all targets, and the node of the only one, if it is one. Raises InputError."""
    graph, single = Graph(), None
    for target in targets:
        found, single = read(target)
        graph.merge(found)
    tell_cycles(graph)
    return graph, single if len(targets) == 1 else None


def tell_cycles(graph: Graph) -> None:
    for group in graph.cycles():
        graph.problems.append(f"these are their own ancestors: {', '.join(group)}")


def read(target: str) -> tuple[Graph, str | None]:
    """The graph of a root, an artifact, a folder or a lineage file, and the node that it is. Raises InputError."""
    path = Path(target)
    if "://" not in target and path.suffix in FILES and path.is_file():
        return lineage_file.read_file(path), None
    if _is_root(target):
        return manifests.read_root(open_store(target), lineage_of), None
    above, _, name = target.rstrip("/").rpartition("/")
    root, _, kind = above.rpartition("/")
    if kind in KINDS and _is_root(root or "."):
        store = open_store(root or ".")
        artifact.require(store, f"{kind}/{name}")
        return manifests.read_root(store, lineage_of), f"{kind}/{name}"
    if path.is_dir():
        found = card.read_folder(path)
        return found, next(iter(found.nodes))
    raise InputError(
        f"{target} is no root of undertow, no artifact, no folder and no lineage file ({', '.join(FILES)}): name one"
    )


def _is_root(place: str) -> bool:
    return ("://" in place or Path(place).is_dir()) and open_store(place).exists(MARKER)


def node_of(graph: Graph, name: str | None) -> str | None:
    """The node of this id or, if there is only one, whose id contains it. Raises InputError."""
    if name is None or name in graph.nodes:
        return name
    near = sorted(node for node in graph.nodes if name in node)
    if len(near) == 1:
        return near[0]
    several = f"; {len(near)} contain it, such as {', '.join(near[:3])}" if near else ""
    raise InputError(f"there is no {name} in this lineage of {len(graph.nodes)} nodes{several}")


def _part(graph: Graph, start: str, reached: Sequence[Reached]) -> Graph:
    """The start, what was reached, and the edges among them."""
    kept = {start, *(one.node.id for one in reached)}
    nodes = {name: node for name, node in graph.nodes.items() if name in kept}
    return Graph(nodes, [e for e in graph.edges if e.child in kept and e.parent in kept], graph.problems)


def _summarise(console: Console, graph: Graph) -> None:
    kinds = Counter(node.kind for node in graph.nodes.values())
    evidence = Counter(edge.evidence for edge in graph.strongest())
    console.print(f"{len(graph.nodes):,} nodes: {', '.join(f'{count:,} × {kind}' for kind, count in kinds.items())}")
    console.print(f"{evidence.total():,} edges: {', '.join(f'{evidence[e]:,} {e}' for e in EVIDENCE if evidence[e])}")
    console.print("Name a node with --of for its ancestors, or with --learned-from for what came of it.")


def _tell_problems(console: Console, graph: Graph) -> None:
    for problem in graph.problems[:MOST_PROBLEMS]:
        console.print(Text(f"! {problem}", "yellow"), soft_wrap=True)
    if len(graph.problems) > MOST_PROBLEMS:
        console.print(f"! and {len(graph.problems) - MOST_PROBLEMS:,} more problems", style="yellow")


def _write(graph: Graph, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / OUTPUTS[0]).write_text(json.dumps(lineage_file.as_json(graph), indent=1) + "\n")
    (out / OUTPUTS[1]).write_text(render.as_mermaid(graph))
    render.draw(graph, out / OUTPUTS[2])
