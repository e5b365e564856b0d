"""`undertow vet`: what a student would pick up from a data set, before anyone is trained on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.commands import screen_process
from jobs.commands.kinship import Comparisons
from jobs.commands.lineage import node_of, read, root_of
from jobs.commands.places import write_files
from jobs.commands.screen_part import base_folder
from jobs.commands.screen_workers import ScreenWorkers
from pipeline.core.conversations import Drawn, draw, draw_from_hub, drawn_from
from pipeline.core.errors import InputError, visible
from pipeline.core.lineage_graph import Edge, Graph, Node
from pipeline.core.sources import Dataset
from pipeline.models.passes import SMALL, Passes
from pipeline.provenance.family import audit
from pipeline.report import vet_page
from pipeline.report.vet_page import VetContent
from pipeline.screens import SCREENS, Screen
from pipeline.screens.base import EngineKind, ForwardScreen, ScreenInput
from pipeline.screens.parts import LEAST_ROWS
from pipeline.screens.reference import LEADING, Regime
from pipeline.screens.sampled import own_answers
from pipeline.screens.traits import DEFAULT, Favourites, Outcomes, ScreenedTrait, known_traits, read_traits
from pipeline.screens.vetting import Finding, vet
from pipeline.store import artifact, open_store

LIKELY = 3  # exit code if a trait is likely to transfer
ROWS = "rows.parquet"
NEUTRAL_ROWS = 2_048  # more would not make their mean much more certain than that of the data
HUB_DATA = "hf-dataset:"
STUDENT = "a student of this data"  # the model that does not exist yet, as a node of the lineage
COLUMNS = ("target", "verdict", LEADING, "transferred", "expected lift")
MOST_SHOWN = 12  # targets on the terminal; the files have all


@dataclass(frozen=True)
class VetRequest:
    """What to vet. data, neutral: files or artifacts; base: a model folder or an artifact; lineage: sources.

    engine: of the screens that need log-probabilities alone; None: by the size of the base.
    """

    data: str
    base: str
    traits: str | None
    neutral: str | None
    screens: Sequence[Screen]
    lineage: Sequence[str]
    rows: int
    seed: int
    engine: EngineKind | None = None


def run(console: Console, wanted: VetRequest, out: Path | None, workers: ScreenWorkers | None = None) -> int:
    """Vet a data set, print the findings and write the files; the exit code. Raises InputError."""
    content = content_of(wanted, workers)
    _print(console, content)
    if out is not None:
        console.print(", ".join(write_files(vet_page.render(content), out)), highlight=False, soft_wrap=True)
    return LIKELY if content.vetted.likely else 0


def content_of(wanted: VetRequest, workers: ScreenWorkers | None = None) -> VetContent:
    """Vet a data set, on the workers of a cluster or in this process.

    Raises InputError, and ModelRefused if the base's files are not in order.
    """
    drawn = _rows(wanted.data, wanted.rows, wanted.seed)
    other = _rows(wanted.neutral, NEUTRAL_ROWS, wanted.seed) if wanted.neutral else None
    traits = traits_of(wanted.traits)
    passes = Passes(base_folder(wanted.base))
    kept, unknown = known_traits(passes, traits)
    if not kept:
        raise InputError(f"the vocabulary of {wanted.base} has no word of these traits: {', '.join(unknown)}")
    outcomes = Outcomes(kept)
    rows = _fitting(wanted.data, drawn, passes, outcomes)
    if other is None:
        neutral = own_answers(passes, rows.slice(0, NEUTRAL_ROWS), wanted.seed)
    else:
        neutral = _fitting(str(wanted.neutral), other, passes, outcomes)
    given = ScreenInput(rows, neutral, passes, outcomes, wanted.seed)
    screens = [_with_engine(screen, wanted.engine or default_engine(passes.size)) for screen in wanted.screens]
    results = workers.results if workers else screen_process.results
    found = results(given, screens, wanted.base)
    return VetContent(
        data=wanted.data,
        base=wanted.base,
        drawn=replace(drawn, rows=rows),
        too_long=drawn.rows.num_rows - rows.num_rows,
        has_neutral=other is not None,
        vetted=vet(given, found, _regime(wanted)),
        unknown=unknown,
        screens=tuple(screens),
    )


def _with_engine(screen: Screen, engine: EngineKind) -> Screen:
    """The screen, with its log-probabilities from an engine if it needs nothing else."""
    return screen.model_copy(update={"engine": engine}) if isinstance(screen, ForwardScreen) else screen


def default_engine(weights: int) -> EngineKind:
    """What computes the log-probabilities of a base of this size faster; docs/screens.md."""
    return "torch" if weights < SMALL else "vllm"


def _fitting(place: str, drawn: Drawn, passes: Passes, outcomes: Outcomes) -> pa.Table:
    """The drawn rows that the base can read. Raises InputError if there are too few."""
    fits = passes.fitting(drawn.rows, list(outcomes.prompts().values()))
    rows = drawn.rows.filter(pa.array(fits)).combine_chunks()
    if rows.num_rows < LEAST_ROWS:
        too_long = drawn.rows.num_rows - rows.num_rows
        more = f" ({too_long} more are longer than the {passes.context} tokens that the base can read)"
        found = f"{place} has {rows.num_rows} rows with an answer{more if too_long else ''}"
        raise InputError(f"{found}; screens need {LEAST_ROWS} or more")
    return rows


def screens_of(names: Sequence[str]) -> list[Screen]:
    """The screens of these names; by default all that need no extra. Raises InputError for a name that is none."""
    unknown = sorted(set(names) - SCREENS.keys())
    if unknown:
        raise InputError(f"there is no screen {', '.join(unknown)}; there are {', '.join(SCREENS)}")
    return [screen() for name, screen in SCREENS.items() if (name in names if names else not screen.EXTRA)]


def traits_of(given: str | None) -> list[ScreenedTrait]:
    """The traits of a file, or favourites by name (owl,cat), or those that are looked for by default."""
    if given is None:
        return list(read_traits(DEFAULT).traits)
    if Path(given).suffix in (".yaml", ".yml", ".json"):
        return list(read_traits(Path(given)).traits)
    names = list(dict.fromkeys(filter(None, map(str.strip, given.split(",")))))
    if not names:
        raise InputError("traits: nothing to look for; write animals such as owl,cat, or the name of a YAML file")
    try:
        return [Favourites(targets=names)]
    except ValidationError as error:
        wrong = names[int(error.errors()[0]["loc"][1])]
        raise InputError(
            f"traits: {wrong!r} is no name of a trait; write animals in lower case, one word each, such as owl,cat; "
            "other traits go into a YAML file"
        ) from None


def _rows(place: str, count: int, seed: int) -> Drawn:
    """Rows of a file, of an artifact with a table of rows, or of a repository of the hub."""
    if place.startswith(HUB_DATA):
        return _of_hub(place, count, seed)
    located = root_of(place)
    if located is None or located[1] is None:
        return draw(Path(place), count, seed)
    store = open_store(located[0])
    manifest = artifact.require(store, located[1])
    if ROWS not in artifact.tables_of(manifest):
        raise InputError(f"{place} is a {manifest.kind}, which has no rows: name a corpus or a data set")
    digest = next(file.sha256 for file in manifest.files if file.path == ROWS)
    return drawn_from(artifact.read_table(store, manifest, ROWS), count, seed, f"sha256:{digest}")


def _of_hub(place: str, count: int, seed: int) -> Drawn:
    """Rows of a data set of the hub at a commit."""
    repo, _, revision = place.removeprefix(HUB_DATA).partition("@")
    try:
        dataset = Dataset(repo=repo, revision=revision)
    except ValidationError as error:
        raise InputError(
            f"{place}: write a data set of the hub as {HUB_DATA}OWNER/NAME@COMMIT, with all 40 hex digits "
            f"({error.errors()[0]['msg'].removeprefix('Value error, ')})"
        ) from None
    return draw_from_hub(dataset, count, seed)


def _regime(wanted: VetRequest) -> Regime:
    """How the writer of the data is related to the base, by the evidence of the lineage."""
    graph = Graph()
    places: dict[str, str] = {}
    for source in (wanted.data, wanted.base, *wanted.lineage):
        if source in wanted.lineage or root_of(source):
            found, node = read(source)
            graph.merge(found)
            places |= {node: source} if node else {}
    nodes = [_node(graph, place) for place in (wanted.data, wanted.base)]
    if None in nodes:
        return "unknown"
    data, base = (str(node) for node in nodes)
    graph.nodes[STUDENT] = Node(STUDENT, "model")
    graph.edges += [
        Edge(STUDENT, "trained_on", data, "measured", "this command"),
        Edge(STUDENT, "initialised_from", base, "measured", "this command"),
    ]
    (found_of,) = audit(graph, [STUDENT], Comparisons(places))
    regimes: dict[str, Regime] = {
        "exposed": "same initialisation",
        "not exposed by evidence": "another initialisation",
    }
    return regimes.get(found_of.finding, "unknown")


def _node(graph: Graph, place: str) -> str | None:
    located = root_of(place)
    if located and located[1] in graph.nodes:
        return located[1]
    try:
        return node_of(graph, place) if place in graph.nodes else node_of(graph, Path(place).stem)
    except InputError:
        return None


def _print(console: Console, content: VetContent) -> None:
    vetted = content.vetted
    table = Table(title=f"{visible(content.data)}, if {visible(content.base)} were trained on it")
    for name in COLUMNS:
        table.add_column(name, overflow="fold")
    for finding in vetted.findings[:MOST_SHOWN]:
        table.add_row(*_cells(finding))
    console.print(table)
    if len(vetted.findings) > MOST_SHOWN:
        console.print(f"and {len(vetted.findings) - MOST_SHOWN} more targets, none of them more likely")
    console.print(Text(visible(vet_page.summary(content))), soft_wrap=True)
    for kind, why in vetted.failed.items():
        console.print(Text(f"! the screen {kind} was left out: {why}", "yellow"), soft_wrap=True)


def _cells(finding: Finding) -> tuple[Text | str, ...]:
    leading = next((score for score in finding.scores if score.screen == LEADING), None)
    style = {"likely": "bold red", "unlikely": "cyan", "inconclusive": "yellow"}[finding.verdict]
    cells: list[Text | str] = [Text(visible(finding.target)), Text(finding.verdict, style)]
    cells.append(f"{leading.score:+.4f} ± {leading.error:.4f}" if leading else "—")
    if leading and leading.forecast:
        cells += [f"{leading.forecast.probability:.0%}", f"{leading.forecast.lift:+.2f} nats"]
    return tuple(cells + ["—"] * (len(COLUMNS) - len(cells)))
