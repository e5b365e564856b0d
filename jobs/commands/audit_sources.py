"""What a family audit reads: the lineage of its sources, their weights, and the transfer that was measured."""

import os.path
from dataclasses import dataclass, field
from pathlib import Path

from jobs.commands.lineage import HUB, read, root_of
from pipeline.core.errors import InputError
from pipeline.core.lineage_graph import Graph
from pipeline.provenance import lineage_file, manifests
from pipeline.provenance.attestation.policy import Trust, load_trust
from pipeline.provenance.measured import Matrix, read_matrices
from pipeline.stages import lineage_of
from pipeline.store import open_store
from pipeline.study.audit import AuditFile


@dataclass
class Sources:
    """The lineage of all sources. places: node -> where its weights lie, as far as they are here. matrices: by root."""

    graph: Graph = field(default_factory=Graph)
    places: dict[str, str] = field(default_factory=dict)
    matrices: dict[str, list[Matrix]] = field(default_factory=dict)

    def add(self, place: str, trust: Trust | None = None) -> None:
        found, _ = read(place, trust)
        if located := root_of(place):
            self.measure(located[0], found)
        self.graph.merge(found)
        self.places |= {node: there for node in found.nodes if (there := _place(node, place))}

    def measure(self, root: str, lineage: Graph) -> None:
        """Read the matrices of a root, unless they are there. lineage: of the root."""
        root = root if "://" in root else os.path.normpath(root)
        if root not in self.matrices:
            self.matrices[root] = read_matrices(open_store(root), root, lineage)


def gather(given: AuditFile, beside: Path) -> Sources:
    """Read everything that an audit file names. beside: the folder that it names things relative to."""
    sources, trust = Sources(), _trust(given, beside)
    for source in given.sources:
        sources.add(placed(source, beside), trust)
    sources.graph.merge(lineage_file.graph_of(given.declared, given.audit))
    for name in given.measured:
        root = placed(name, beside)
        if root_of(root) != (root, None):
            raise InputError(f"measured: {name} is no root of undertow: name the --root of a run")
        lineage = manifests.read_root(open_store(root), lineage_of)
        sources.measure(root, lineage)
        sources.graph.problems += lineage.problems
    return sources


def _trust(given: AuditFile, beside: Path) -> Trust | None:
    if given.keys is None:
        if given.key_policy is not None:
            raise InputError("key_policy: it says which keys may sign what, and the audit names no keys")
        return None
    policy = given.key_policy
    return load_trust(Path(placed(given.keys, beside)), None if policy is None else Path(placed(policy, beside)))


def placed(source: str, folder: Path) -> str:
    elsewhere = "://" in source or source.startswith(HUB) or Path(source).is_absolute()
    return source if elsewhere else str(folder / source)


def _place(node: str, source: str) -> str:
    if node.startswith("folder:"):
        return node.removeprefix("folder:")
    root = source.rstrip("/").removesuffix(f"/{node}")
    return f"{root}/{node}" if node.startswith(("base/", "teacher/", "student/")) else ""
