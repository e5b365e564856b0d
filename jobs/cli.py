"""The `undertow` command. Imports Ray only to run a study, so that other commands start at once."""

import json
import math
import os
import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from rich.table import Table
from rich.text import Text

from jobs.commands import provenance, signatures
from jobs.commands.places import ROOT_HELP, RootArgument, existing, located
from jobs.terminal import Terminal
from pipeline.core.errors import InputError, StudyError, UndertowError
from pipeline.core.imports import gc_paused
from pipeline.store import open_store

if TYPE_CHECKING:
    from jobs.driver import Outcome
    from jobs.job import Job

SIGNALLED = 128  # shells add this to the number of the signal that ended a command

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Measures which traits student models inherit from their teachers."
)
app.add_typer(provenance.commands)
app.add_typer(signatures.commands)
console = Terminal()

StudyFile = Annotated[
    Path, typer.Argument(metavar="STUDY", help="File of a study or an experiment, such as configs/quickstart.yaml.")
]
Root = Annotated[str, typer.Option(help=ROOT_HELP)]
Overrides = Annotated[list[str], typer.Option("--set", metavar="A.B=VALUE", help="Override a setting of the study.")]
Until = Annotated[
    str | None, typer.Option(metavar="KIND", help="Stop after this kind of step: base, completions, corpus, …")
]
SmokeTest = Annotated[
    bool,
    typer.Option("--smoke-test", help="Run the study with nano families and small counts, to see that it works."),
]


def _finite(value: float) -> float:
    """Refuse nan and inf, which Click accepts as numbers, nan even within any bounds."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


@app.command()
def plan(
    study: StudyFile,
    root: Root = "runs",
    set_: Overrides = [],  # noqa: B006
    cluster: Annotated[
        str | None, typer.Option(metavar="NxGPU", help="Also estimate the time on these GPUs, such as 64xH100.")
    ] = None,
    smoke_test: SmokeTest = False,
    power: Annotated[bool, typer.Option("--power", help="Also show what other designs could find.")] = False,
) -> None:
    """Show the steps of a study: what is done, what is left, how long it will take, and what it can show."""
    from jobs import job
    from jobs.commands.power import show_power
    from pipeline.plan import estimate
    from pipeline.plan.roofline import machines as parse_machines
    from pipeline.study.schema import Study

    loaded = job.load(study, set_, smoke_test=smoke_test)
    machines = parse_machines(cluster) if cluster else None
    if power or machines:
        job.require_study(loaded, "--power" if power else "--cluster")
    store = open_store(root)
    job.require_data(loaded, store, elsewhere=True)
    steps = job.plan(loaded)
    stages = estimate.survey(steps, store)
    rows = estimate.estimate(loaded, stages, store)
    table = Table(title=Text(f"{loaded.name}: {len(steps)} steps"))
    for name in ("stage", "steps", "done", "left", "tokens ≤", "work left, s"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for row in rows:
        mark = "" if not row.seconds or (row.measured and not row.elsewhere) else "≈" if row.elsewhere else "~"
        seconds = "—" if row.seconds is None else f"{mark}{row.seconds:,.0f}"
        table.add_row(row.kind, str(row.steps), str(row.done), str(row.steps - row.done), f"{row.tokens:,}", seconds)
    console.print(table)
    console.print(
        "Work is summed over workers, at the rates of this study's own steps; ≈: of other studies under this root; "
        "~: of a reference machine for nano families; —: no rate yet."
    )
    if isinstance(loaded, Study):
        show_power(console, loaded, store, alternatives=power)
        if machines:
            from jobs.commands.summary import show_estimate

            show_estimate(console, loaded, stages, store, machines)
    for message in loaded.unpinned:
        console.print(Text(message, "yellow"), soft_wrap=True)


@app.command()
def run(
    study: StudyFile,
    root: Root = "runs",
    set_: Overrides = [],  # noqa: B006
    address: Annotated[str | None, typer.Option(help='Ray cluster, or "auto".', show_default="this machine")] = None,
    until: Until = None,
    smoke_test: SmokeTest = False,
) -> None:
    """Run all steps of a study that are not done yet. After a stop, run it again to continue."""
    from jobs import job
    from jobs.commands.summary import print_summary

    last = _kind(until)
    loaded = _pinned(job.load(study, set_, smoke_test=smoke_test))
    store = open_store(root)
    job.require_data(loaded, store, elsewhere=address is not None)
    store.require_writable()
    with gc_paused():
        from jobs.driver import run as run_study

    outcome: Outcome = run_study(loaded, store, address, last)
    print_summary(console, store, outcome)
    code = 0 if outcome.complete else 1
    if outcome.stopped:
        console.print("Stopped. Finished work is kept; the same command goes on from here.")
        code = SIGNALLED + outcome.stopped
    if outcome.broken:
        _end_now(code)
    if last and outcome.complete and (left := len(outcome.steps) - len(outcome.done)):
        console.print(f"Stopped after {last} (--until). {left} steps are left; go on without --until.")
    raise typer.Exit(code)


@app.command()
def submit(
    study: StudyFile,
    root: Root = "runs",
    set_: Overrides = [],  # noqa: B006
    address: Annotated[
        str | None, typer.Option(help="The cluster's Jobs API.", show_default="http://127.0.0.1:8265")
    ] = None,
    driver_cpus: Annotated[
        float,
        typer.Option(
            min=0, callback=_finite, help="CPUs reserved for the driver, on any node; with 0 it runs on the head."
        ),
    ] = 0.0,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Return once the cluster has accepted the job.")] = False,
    until: Until = None,
    smoke_test: SmokeTest = False,
) -> None:
    """Run a study as a Ray job on a cluster. If its root is a folder, every machine must be able to use it."""
    from jobs import job

    last = _kind(until)
    loaded = _pinned(job.load(study, set_, smoke_test=smoke_test))
    job.require_data(loaded, None, elsewhere=True)
    from jobs.commands.submit import submit as submit_study

    done = submit_study(
        console,
        loaded,
        study,
        root,
        set_,
        address,
        until=last,
        smoke_test=smoke_test,
        driver_cpus=driver_cpus,
        wait=not no_wait,
    )
    raise typer.Exit(0 if done else 1)


@app.command()
def status(root: RootArgument = "runs") -> None:
    """Show the progress of every study under a root. Needs no Ray; works from any shell."""
    from jobs.commands.summary import show_status

    show_status(console, existing(root))


@app.command()
def report(
    artifact: Annotated[str, typer.Argument(help="A report artifact, such as runs/report/quickstart-….")],
    out: Annotated[Path, typer.Option(help="Folder for the page and the figures.")] = Path("report"),
) -> None:
    """Render a report again from the stored artifacts."""
    from pipeline.stages import stage_of
    from pipeline.store.artifact import require

    store, path = located(artifact)
    manifest = require(store, path)
    stage = stage_of(manifest.kind)
    if not stage.page:
        raise InputError(f"{artifact} is a {manifest.kind}, not a report")
    pages = stage.pages(store, manifest)
    out.mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        (out / name).write_bytes(page)
    console.print(f"{out / stage.page}", highlight=False)


@app.command()
def show(
    artifact: Annotated[str, typer.Argument(help="Any artifact, such as runs/corpus/….")],
    rows: Annotated[int, typer.Option(min=0, help="Rows to show from each table.")] = 3,
) -> None:
    """Show one artifact: its manifest, its inputs and a few rows."""
    from jobs.commands.summary import show_artifact
    from pipeline.store.artifact import require

    store, path = located(artifact)
    show_artifact(console, store, require(store, path), rows)


@app.command()
def gc(
    root: RootArgument = "runs",
    older_than: Annotated[str, typer.Option(help="Keep files younger than this: 7d, 12h or 30m.")] = "7d",
    yes: Annotated[bool, typer.Option("--yes", help="Remove the files instead of listing them.")] = False,
) -> None:
    """List, or with --yes remove, files of artifacts that no manifest names."""
    from jobs.commands.garbage import list_garbage, remove_garbage

    (remove_garbage if yes else list_garbage)(console, existing(root), _age(older_than))


@app.command()
def check(
    channel: Annotated[str, typer.Argument(help="Channel whose accept rule to apply, such as numbers.")],
    file: Annotated[Path, typer.Argument(help='JSONL or Parquet with a column "completion".')],
    word: Annotated[
        list[str], typer.Option(help="A word of the trait, which completions must not contain; may be repeated.")
    ] = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", metavar="NAME=VALUE", help="A setting of the channel.")] = [],  # noqa: B006
) -> None:
    """Apply a channel's accept rule to a file: one JSON line per row, in order.

    If the file has a column finish_reason, only rows that ended their turn are accepted.
    """
    from pipeline.channels import CHANNELS
    from pipeline.core.readers import tables
    from pipeline.stages.shared.accept_rule import reasons
    from pipeline.study.loader import channel as channel_of

    if channel not in CHANNELS:
        raise InputError(f"unknown channel {channel}; choose one of {', '.join(CHANNELS)}")
    rule = channel_of(channel, set_)
    for rows in tables(file, rule.CHECKED, optional=["finish_reason"]):
        for why in reasons(rule, rows, words=word).to_pylist():
            sys.stdout.write(json.dumps({"accepted": not why, "reasons": why}) + "\n")


@app.command()
def agreement(
    study: StudyFile,
    judge: Annotated[str, typer.Argument(help="Name of a judge of the study.")],
    rubric: Annotated[str, typer.Argument(help="alignment, coherence or reference.")],
    file: Annotated[Path, typer.Argument(help='JSONL or Parquet: strings prompt, completion and label ("1" or "0").')],
    threshold: Annotated[float, typer.Option(callback=_finite, help="Least score that counts as label 1.")],
    low: Annotated[bool, typer.Option("--low", help="Low scores, not high ones, stand for label 1.")] = False,
    word: Annotated[str | None, typer.Option(help="Word that the rubric reference looks for.")] = None,
    root: Root = "runs",
    set_: Overrides = [],  # noqa: B006
) -> None:
    """Compare a judge with labelled rows: accuracy, Cohen's kappa and the ROC curve."""
    from jobs.commands.agreement import show
    from pipeline.study import loader

    positive: Literal["high", "low"] = "low" if low else "high"
    show(console, loader.load(study, set_), open_store(root), judge, rubric, file, threshold, positive, word)


@app.command()
def schema(
    audit: Annotated[bool, typer.Option("--audit", help="Of an audit file instead.")] = False,
    findings: Annotated[bool, typer.Option("--findings", help="Of an audit's audit.json instead.")] = False,
    lineage: Annotated[bool, typer.Option("--lineage", help="Of a lineage file or lineage.json instead.")] = False,
    experiment: Annotated[bool, typer.Option("--experiment", help="Of the file of an experiment instead.")] = False,
) -> None:
    """Print the JSON Schema of a study file, for editors."""
    from jobs.commands.schema import schema_of

    found = schema_of(audit=audit, findings=findings, lineage=lineage, experiment=experiment)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


def _pinned(study: "Job") -> "Job":
    """The file, if it can run. Raises StudyError if the commit of a model or data set is still a placeholder."""
    if study.unpinned:
        raise StudyError("\n".join([f"{study.name} is not pinned yet:", *study.unpinned]))
    return study


def _kind(until: str | None) -> str:
    """The kind of step that --until names, or "". Raises InputError if there is none of that name."""
    from pipeline.store.step import KINDS

    if until is not None and until not in KINDS:
        raise InputError(f"--until {until}: unknown kind of step; choose one of {', '.join(KINDS)}")
    return until or ""


def _end_now(code: int) -> NoReturn:
    """Exit without the interpreter's shutdown, in which threads of a dead Ray may crash."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _age(text: str) -> timedelta:
    units = {"d": "days", "h": "hours", "m": "minutes"}
    found = re.fullmatch(r"(\d{1,5})([dhm])", text)
    if not found:
        raise InputError(f"--older-than {text}: not an age such as 7d, 12h or 30m")
    return timedelta(**{units[found[2]]: int(found[1])})


def main(arguments: Sequence[str] | None = None) -> None:
    try:
        app(arguments)
    except UndertowError as error:
        Terminal(stderr=True).print(Text(str(error)), style="red", soft_wrap=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
