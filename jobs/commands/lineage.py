"""`undertow lineage`: gathers what roots, folders and files say, and shows the ancestry of one thing in it."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from jobs.commands.attest import bundled
from jobs.commands.places import is_root
from pipeline.core.errors import InputError
from pipeline.core.lineage_graph import EVIDENCE, Graph
from pipeline.provenance import card, hub, lineage_file, manifests, render
from pipeline.provenance.attestation import lineage as attested
from pipeline.provenance.attestation.policy import Trust
from pipeline.stages import lineage_of
from pipeline.store import artifact, open_store
from pipeline.store.step import KINDS

FILES = (".yaml", ".yml", ".json")
BUNDLE = ".jsonl"  # signed statements, as `undertow export --to attestations` writes them
MOST_PROBLEMS = 20  # lines on the terminal; the files have all
HUB = ("hf:", "hf-dataset:")
OUTPUTS = ("lineage.json", "lineage.mmd", "lineage.svg")


def show(
    console: Console,
    targets: Sequence[str],
    of: str | None,
    learned_from: str | None,
    out: Path | None,
    trust: Trust | None = None,
) -> Graph:
    """Print a lineage and write its files.

    of: the node whose ancestors are listed, by default the target if it is one thing. learned_from: the node whose
    descendants are listed instead. Raises InputError if a target or a node is unknown.
    """
    graph, single = gather(targets, trust, whole=learned_from is not None)
    start = node_of(graph, of or learned_from or single)
    if start is None:
        _summarise(console, graph)
    else:
        reached = graph.descendants(start) if learned_from else graph.ancestors(start)
        for line in render.as_lines(start, reached):
            console.print(Text(line), soft_wrap=True)
        if not reached:
            console.print(f"Nothing is known to {'have learned from it' if learned_from else 'have gone into it'}.")
        graph = graph.part({start, *(one.node.id for one in reached)})
    _tell_problems(console, graph)
    if out is not None:
        _write(graph, out)
        console.print(f"{', '.join(str(out / name) for name in OUTPUTS)}", highlight=False, soft_wrap=True)
    return graph


def gather(targets: Sequence[str], trust: Trust | None = None, *, whole: bool = False) -> tuple[Graph, str | None]:
    """The graph of all targets, and the node of the only one, if it is one. Raises InputError."""
    graph, single = Graph(), None
    for target in targets:
        found, single = read(target, trust, whole=whole)
        graph.merge(found)
    tell_cycles(graph)
    return graph, single if len(targets) == 1 else None


def tell_cycles(graph: Graph) -> None:
    for group in graph.cycles():
        graph.problems.append(f"these are their own ancestors: {', '.join(group)}")


def read(target: str, trust: Trust | None = None, *, whole: bool = False) -> tuple[Graph, str | None]:
    """The graph of a root, an artifact, a folder, a lineage file or a bundle, and the node that it is.

    trust: whose signatures count in a bundle. whole: read the whole root of an artifact, not only what the artifact was
    made from. Raises InputError.
    """
    path = Path(target)
    if target.startswith(HUB):
        return hub.read_repository(target)
    if path.suffix == BUNDLE and path.is_file():
        if trust is None:
            raise InputError(f"{target} holds signed statements: name the public keys that you trust (--keys or keys)")
        return attested.graph_of(bundled(path), target, trust), None
    if "://" not in target and path.suffix in FILES and path.is_file():
        return lineage_file.read_file(path), None
    if located := root_of(target):
        root, node = located
        store = open_store(root)
        if node is None:
            return manifests.read_root(store, lineage_of), None
        artifact.require(store, node)
        if whole:
            return manifests.read_root(store, lineage_of), node
        return manifests.read_ancestors(store, node, lineage_of), node
    if path.is_dir():
        found = card.read_folder(path)
        return found, next(iter(found.nodes))
    raise InputError(
        f"{target} is no root of undertow, no artifact, no folder, no lineage file ({', '.join(FILES)}) and no bundle "
        f"({BUNDLE}): name one"
    )


def root_of(target: str) -> tuple[str, str | None] | None:
    """The root that a target is or lies in, and which of its artifacts it is, if it is one; None without a root."""
    if is_root(target):
        return target, None
    above, _, name = target.rstrip("/").rpartition("/")
    root, _, kind = above.rpartition("/")
    if kind in KINDS and is_root(root or "."):
        return root or ".", f"{kind}/{name}"
    return None


def node_of(graph: Graph, name: str | None) -> str | None:
    """The node of this id or, if there is only one, whose id contains it. Raises InputError."""
    if name is None or name in graph.nodes:
        return name
    near = sorted(node for node in graph.nodes if name in node)
    if len(near) == 1:
        return near[0]
    several = f"; {len(near)} contain it, such as {', '.join(near[:3])}" if near else ""
    said = [f"there is no {name} in this lineage of {len(graph.nodes)} nodes{several}", *graph.problems[:MOST_PROBLEMS]]
    raise InputError("\n".join(said))


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
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / OUTPUTS[0]).write_text(json.dumps(lineage_file.as_json(graph), indent=1) + "\n")
        (out / OUTPUTS[1]).write_text(render.as_mermaid(graph))
        render.draw(graph, out / OUTPUTS[2])
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror}; name another folder") from None
