"""`undertow audit`: the family audit of models, as a table and files, with an exit code for CI."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.commands.audit_sources import Sources, gather, placed
from jobs.commands.kinship import Comparisons
from jobs.commands.lineage import node_of, read, tell_cycles
from jobs.commands.places import write_files
from pipeline.core.errors import visible
from pipeline.core.lineage_graph import EVIDENCE, Graph
from pipeline.provenance.comparable import with_measured
from pipeline.provenance.family import WEIGHTS, Exposure, audit, students_of
from pipeline.provenance.measured import Measured
from pipeline.report import audit_files
from pipeline.report.audit_page import AuditContent, number
from pipeline.study.audit import AuditFile, Policy, ScreenedData

if TYPE_CHECKING:
    from jobs.commands.screen_workers import ScreenWorkers

FAILED = 3  # exit code of an audit whose policy a finding breaks
MOST_MEASURED = 3  # numbers beside one teacher on the terminal; the files have more
COLUMNS = ("student, its teachers", "generations", "finding, relation", "evidence", "measured γ")


def run(
    console: Console, given: AuditFile, beside: Path, out: Path | None, workers: "ScreenWorkers | None" = None
) -> int:
    """Audit, print the table and write the files; the exit code. beside: the folder that sources are relative to.

    workers: of the screens; without them, screens run in this process.
    """
    sources = gather(given, beside)
    content = _audit(given, sources)
    _print(console, content)
    if out is not None:
        console.print(", ".join(write_files(audit_files.render(content), out)), highlight=False, soft_wrap=True)
    console.print(
        f"{len(content.found)} audited, {len(content.failed)} failed by the policy ({', '.join(content.fail_on)})"
    )
    likely = [
        name
        for name, wanted in given.screens.items()
        if _is_likely(console, wanted, beside, out / name if out else None, workers)
    ]
    if given.screens:
        console.print(f"{len(given.screens)} data sets vetted, {len(likely)} likely to pass a trait on")
    return FAILED if content.failed or (likely and given.policy.fail_on_likely) else 0


def _is_likely(
    console: Console, given: ScreenedData, beside: Path, out: Path | None, workers: "ScreenWorkers | None"
) -> bool:
    """Vet one data set. out: the folder of its files."""
    from jobs.commands import vet  # imports what only screens need

    wanted = vet.VetRequest(
        data=placed(given.data, beside),
        base=placed(given.base, beside),
        traits=placed(given.traits, beside) if given.traits and Path(given.traits).suffix else given.traits,
        neutral=placed(given.neutral, beside) if given.neutral else None,
        screens=vet.screens_of(given.members),
        lineage=[],
        rows=given.rows,
        seed=given.seed,
        engine=given.engine,
    )
    return vet.run(console, wanted, out, workers) == vet.LIKELY


def of_one(target: str) -> AuditFile:
    """The audit of a single model with the usual policy; of a root, that of all its models. Raises InputError."""
    _, model = read(target)
    return AuditFile(audit="family", sources=[target], students=[model] if model else [], policy=Policy())


def _check_declared(graph: Graph, compared: Comparisons) -> None:
    """Drop what is said of weights and is not so, and say that it is."""
    kept = []
    for edge in graph.edges:
        is_said = edge.relation in WEIGHTS and EVIDENCE.index(edge.evidence) >= EVIDENCE.index("declared")
        if is_said and edge.relation != "merged_from" and compared(edge.child, edge.parent) is False:
            graph.problems.append(
                f"{edge.source} says that {edge.child} is {edge.relation.replace('_', ' ')} {edge.parent}, and their "
                "weights did not begin alike"
            )
        else:
            kept.append(edge)
    graph.edges = kept


def _audit(given: AuditFile, sources: Sources) -> AuditContent:
    graph, compared = sources.graph, Comparisons(sources.places)
    _check_declared(graph, compared)
    tell_cycles(graph)
    students = [str(node_of(graph, name)) for name in given.students] or students_of(graph)
    matrices = [matrix for found in sources.matrices.values() for matrix in found]
    found = with_measured(audit(graph, students, compared), graph, matrices)
    accepted = {str(node_of(graph, name)): why for name, why in given.policy.accepted.items()}
    failing = {one.student for one in found if one.finding in given.policy.fail_on}
    return AuditContent(given.audit, found, failing - accepted.keys(), given.policy.fail_on, accepted, graph)


def _print(console: Console, content: AuditContent) -> None:
    table = Table(title="who taught whom")
    for name in COLUMNS:
        table.add_column(name, justify="right" if name == "generations" else "left", overflow="fold")
    for one in content.found:
        why = content.accepted.get(one.student)
        finding = one.finding if why is None else f"{one.finding} (accepted: {why})"
        table.add_section()
        table.add_row(Text(visible(one.student)), "", Text(visible(finding)))
        for exposure in one.exposures:
            table.add_row(*_cells(exposure))
        if not one.exposures:
            table.add_row("", "", Text(visible(one.reason)))
    console.print(table)
    for problem in content.graph.problems:
        console.print(Text(f"! {visible(problem)}", "yellow"), soft_wrap=True)


def _cells(exposure: Exposure) -> tuple[Text | str, ...]:
    name = exposure.teacher if exposure.role == "teacher" else f"{exposure.teacher} (judge)"
    measured = Text(visible(_measured_lines(exposure.measured)))
    return Text(f"  {visible(name)}"), str(exposure.generations), exposure.relation, exposure.evidence, measured


def _measured_lines(measured: Sequence[Measured]) -> str:
    """One line per number."""
    lines = [_line(one) for one in measured[:MOST_MEASURED]]
    if len(measured) > len(lines):
        lines.append(f"and {len(measured) - len(lines)} more")
    return "\n".join(lines) or "not measured"


def _line(one: Measured) -> str:
    notes = (number(one), one.verdict, one.match if one.match != "this pair" else "", one.smoke_test and "SMOKE TEST")
    return ", ".join(note for note in notes if note)
