"""The commands about where models and data come from: lineage, audit, kinship, export."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from jobs.terminal import Terminal
from pipeline.core.errors import InputError

if TYPE_CHECKING:
    from jobs.commands.screen_workers import ScreenWorkers
    from pipeline.provenance.attestation.policy import Trust

commands = typer.Typer()
console = Terminal()
Address = Annotated[
    str | None,
    typer.Option(
        metavar="CLUSTER|auto|local",
        help="Run the screens on the workers of a Ray cluster, or of one that is started on this machine.",
        show_default="in this process",
    ),
]


def _trust(keys: Path | None, policy: Path | None) -> "Trust | None":
    from pipeline.provenance.attestation.policy import load_trust

    if policy and not keys:
        raise InputError("--policy needs --keys")
    return load_trust(keys, policy) if keys else None


@contextlib.contextmanager
def _screen_workers(address: str | None) -> Iterator["ScreenWorkers | None"]:
    if address is None:
        yield None
        return
    from jobs.commands.screen_workers import ScreenWorkers

    with ScreenWorkers(address) as workers:
        yield workers


@commands.command()
def lineage(
    targets: Annotated[
        list[str], typer.Argument(metavar="ROOT|ARTIFACT|FOLDER|FILE…", help="What to read; several are joined.")
    ],
    of: Annotated[
        str | None, typer.Option(help="The node whose ancestors to list; part of its name is enough.")
    ] = None,
    learned_from: Annotated[str | None, typer.Option(help="The node whose descendants to list instead.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for JSON, Mermaid and a picture.")] = None,
    keys: Annotated[Path | None, typer.Option(help="Folder of public keys that you trust, for a bundle.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Which of these keys may sign what.")] = None,
) -> None:
    """Show what a model or data set was made from, or what was made from it, and how that is known."""
    from jobs.commands.lineage import show

    if of and learned_from:
        raise InputError("give --of or --learned-from, not both")
    show(console, targets, of, learned_from, out, _trust(keys, policy))


@commands.command()
def audit(
    what: Annotated[
        list[str], typer.Argument(metavar="FILE | family MODEL", help="An audit file; or one model, by its folder.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for JSON, SARIF and a page.")] = None,
    address: Address = None,
) -> None:
    """Find which models learned from a teacher of their own family. Exit code 3 if the policy is broken."""
    from jobs.commands.audit import of_one, run
    from pipeline.study.audit import load

    if what[0] == "family" and len(what) == 2:
        raise typer.Exit(run(console, of_one(what[1]), Path(), out))
    if len(what) != 1:
        raise InputError("give one audit file, or the word family and one model")
    with _screen_workers(address) as workers:
        code = run(console, load(Path(what[0])), Path(what[0]).parent, out, workers)
    raise typer.Exit(code)


@commands.command()
def kinship(
    a: Annotated[str, typer.Argument(help="A model folder, an adapter, or an artifact such as runs/student/….")],
    b: Annotated[str, typer.Argument(help="Another.")],
    json_: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Tell by their weights whether two models began from the same initialisation."""
    from jobs.commands.kinship import show

    show(console, a, b, as_json=json_)


@commands.command()
def vet(
    data: Annotated[
        str,
        typer.Argument(
            metavar="FILE|CORPUS|hf-dataset:OWNER/NAME@COMMIT", help="The data: JSONL, Parquet, or runs/corpus/…."
        ),
    ],
    base: Annotated[
        str, typer.Option(metavar="FOLDER|BASE", help="The model that would be trained: a folder, or runs/base/….")
    ],
    traits: Annotated[
        str | None,
        typer.Option(metavar="WORDS|FILE", help="What to look for: animals such as owl,cat or a YAML file of traits."),
    ] = None,
    neutral: Annotated[
        str | None,
        typer.Option(metavar="FILE|CORPUS", help="Data of a writer without traits; by default the base's own answers."),
    ] = None,
    screen: Annotated[list[str], typer.Option(help="Screens to run, instead of all.")] = [],  # noqa: B006
    lineage: Annotated[
        list[str], typer.Option(help="Where the lineage of data and base stands; roots are read anyway.")
    ] = [],  # noqa: B006
    rows: Annotated[int, typer.Option(min=16, help="Rows to look at, drawn at random.")] = 1024,
    engine: Annotated[
        Literal["torch", "vllm"] | None,
        typer.Option(help="What computes log-probabilities; by default torch for bases below 10 million weights."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for a page and JSON.")] = None,
    address: Address = None,
) -> None:
    """Forecast what a student would pick up from a data set. Exit code 3 if a trait is likely to transfer."""
    from jobs.commands.vet import VetRequest, run, screens_of

    wanted = VetRequest(data, base, traits, neutral, screens_of(screen), lineage, rows, seed, engine)
    with _screen_workers(address) as workers:
        code = run(console, wanted, out, workers)
    raise typer.Exit(code)


@commands.command()
def export(
    artifact: Annotated[str, typer.Argument(help="A finished artifact, such as runs/student/….")],
    to: Annotated[
        str,
        typer.Option(metavar="FORMAT", help="attestations, bom, card, croissant, eu, openlineage or vsa."),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE|FOLDER", help="Where to write it, instead of the terminal.")
    ] = None,
    keys: Annotated[Path | None, typer.Option(help="Folder of public keys that you trust, for vsa.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Which of these keys may sign what.")] = None,
) -> None:
    """Write what is known of an artifact in another format."""
    from jobs.commands.export import write

    write(console, artifact, to, out, _trust(keys, policy))
