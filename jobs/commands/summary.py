"""What the command prints about runs and artifacts: the summary of a run, the status, one artifact."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.plan import estimate, roofline
from pipeline.stages import stage_of
from pipeline.store import Store, artifact, status
from pipeline.store.step import KINDS
from pipeline.study.schema import Study

if TYPE_CHECKING:
    from jobs.driver import Outcome


def print_summary(console: Console, store: Store, outcome: "Outcome") -> None:
    """Print the results, the outcome of the steps, and the path of the report."""
    made = outcome.done - outcome.done_before
    for step in outcome.steps:
        results = stage_of(step.kind).table(store, step.path) if step.path in outcome.done else None
        if results is not None:
            console.print(results)
    table = Table("stage", "steps", "done before", "made now", "failed", "blocked")
    for kind in KINDS:
        paths = {step.path for step in outcome.steps if step.kind == kind}
        if not paths:
            continue
        counts = (
            paths,
            paths & outcome.done_before,
            paths & made,
            paths & outcome.failed.keys(),
            paths & outcome.blocked.keys(),
        )
        table.add_row(kind, *(str(len(count)) for count in counts))
    console.print(table)
    for path, why in outcome.failed.items():
        console.print(Text(f"{path} failed: {why}", "red"), soft_wrap=True)
        blocked = Counter(p.split("/")[0] for p, by in outcome.blocked.items() if by == path)
        console.print(
            f"  blocks {_counted(blocked)}; log: {store.root}/{status.log(outcome.run_dir, path)}", soft_wrap=True
        )
    for path, why in outcome.refused.items():
        blocked = Counter(p.split("/")[0] for p, by in outcome.blocked.items() if by == path)
        console.print(Text(f"{path} refused its teacher. {why}", "yellow"), soft_wrap=True)
        console.print(f"  blocks {_counted(blocked)}", soft_wrap=True)
    if outcome.broken:
        console.print(Text(outcome.broken, "red"), soft_wrap=True)
    if not made and outcome.complete:
        which = f"every step of this study up to {outcome.until}" if outcome.until else "every step of this study"
        console.print(f"Nothing to do: {which} is done.")
    for step in outcome.steps:
        if (page := stage_of(step.kind).page) and step.path in outcome.done:
            console.print(f"report: {store.root}/{step.path}/{page}", soft_wrap=True, highlight=False)


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing"


def show_estimate(
    console: Console, study: Study, stages: Sequence[estimate.Stage], store: Store, machines: roofline.Machines
) -> None:
    """Print the remaining time on a cluster of GPUs, stage by stage, and the stage that bounds it."""
    measured = estimate.gpu_seconds(study, stages, store, machines.gpu.name)
    steps = [step for stage in stages for step in stage.steps]
    done = {step.path for stage in stages for step in stage.done}
    work = roofline.estimate(study, steps, machines, measured, done=done)
    table = Table(title=Text(f"{study.study} on {machines.count} × {machines.gpu.name}"))
    for name in ("stage", "tokens ≤", "GPU time", "GPUs at once", "wall time", "bound by"):
        table.add_column(name, justify="left" if name in ("stage", "bound by") else "right")
    walls = {}
    for row in work:
        wall = row.wall_seconds(machines)
        busy = f"{min(machines.count, row.gpus_in_use):g}"
        tokens = "—" if math.isnan(row.tokens) else f"{row.tokens:,.0f}"
        table.add_row(row.kind, tokens, _time(row.gpu_seconds), busy, _time(wall), row.bound)
        walls[row.kind] = wall or 0.0
    console.print(table)
    if total := sum(walls.values()):
        longest = max(walls, key=lambda kind: walls[kind])
        unknown = [row.kind for row in work if row.gpu_seconds is None]
        without = f" (without {', '.join(unknown)})" if unknown else ""
        console.print(
            f"{longest} bounds it: {walls[longest] / total:.0%} of {_time(total)}{without}, one stage after another. "
            "A roofline is a lower bound; measured rates replace it once steps have finished on such GPUs."
        )
    for line in roofline.too_large(study, machines):
        console.print(Text(line, "red"), soft_wrap=True)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "—"
    unit, name = next(((u, n) for u, n in ((3600, "h"), (60, "min")) if seconds >= u), (1, "s"))
    return f"{seconds / unit:,.3g} {name}"


def show_status(console: Console, store: Store) -> None:
    """Print, for every study under a root, what is done, runs or failed, the pace and the time left."""
    statuses, unreadable = status.read(store)
    for message in unreadable:
        console.print(Text(f"{message}; the next run of its study rewrites it", "yellow"), soft_wrap=True)
    if not statuses and not unreadable:
        console.print(Text(f"no study has run under {store.root}"))
    for run_dir, run in statuses.items():
        finished = status.done(store, run_dir, run)
        state = status.state(run, finished)
        running = run.running if state == "running" else {}
        table = Table("stage", "done", "of", "running", "failed", "per minute", title=Text(f"{run.study}: {state}"))
        minutes = max(run.heartbeat - run.started, 1e-9) / 60
        for kind, total in run.steps.items():
            rate = (finished[kind] - run.done_at_start.get(kind, 0)) / minutes
            counts = (finished[kind], total, running.get(kind, 0), run.failed.get(kind, 0))
            table.add_row(kind, *map(str, counts), f"{rate:.1f}")
        console.print(table)
        for name, (workers, busy, waiting, deaths) in run.pools.items() if state == "running" else ():
            died = f", {deaths} died so far" if deaths else ""
            console.print(Text(f"  {name}: {workers} up, {busy} units running, {waiting} waiting{died}"))
        _show_failures(console, store, run_dir, run)
        console.print(Text(f"  logs: {store.root}/{run_dir}/logs/"), soft_wrap=True)
        if state == "running":
            console.print(Text(f"  ETA: {status.eta(run, finished)}"), soft_wrap=True)


def _show_failures(console: Console, store: Store, run_dir: str, run: status.RunStatus) -> None:
    for path, why in run.refused.items():
        console.print(Text(f"  {path} refused its teacher. {why}", "yellow"), soft_wrap=True)
    for path, why in run.why.items():
        console.print(Text(f"  {path} failed: {why}", "red"), soft_wrap=True)
        console.print(Text(f"    log: {store.root}/{status.log(run_dir, path)}"), soft_wrap=True)
    if more := sum(run.failed.values()) - len(run.why):
        console.print(f"  and {more} more")


def show_artifact(console: Console, store: Store, manifest: artifact.Manifest, rows: int) -> None:
    """Print an artifact's manifest, its inputs, and the first rows of its tables."""
    console.print(Text(f"{manifest.kind} {Path(manifest.path).name}", "bold"))
    console.print(f"SHA-256 of its manifest: {manifest.digest}", soft_wrap=True, highlight=False)
    about = {"settings": manifest.settings, "results": manifest.results, "produced": manifest.produced}
    console.print(Text(json.dumps(about, indent=2, ensure_ascii=False)), soft_wrap=True)
    inputs = Table("input", "artifact", "manifest SHA-256", title="inputs")
    for role, source in manifest.inputs.items():
        inputs.add_row(Text(role), Text(source["path"]), source["manifest"][:16])
    files = Table("file", "bytes", "rows", "SHA-256", title="files")
    for file in manifest.files:
        files.add_row(
            Text(file.path),
            f"{file.bytes:,}",
            "" if file.rows is None else f"{file.rows:,}",
            file.sha256[:16],
        )
    console.print(inputs, files)
    for file in manifest.files:
        if file.rows is not None and rows:
            for row in artifact.read_table(store, manifest, file.path).slice(0, rows).to_pylist():
                console.print(Text(f"{file.path}: {row}"), soft_wrap=True)
