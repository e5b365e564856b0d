"""`undertow agreement`: compares a judge of a study with labelled rows."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from pipeline.core.errors import InputError
from pipeline.core.readers import tables
from pipeline.models.engines import Engine, open_engine
from pipeline.models.judges import JudgeInput, JudgeSettings, open_judge
from pipeline.models.judges.agreement import Agreement, agreement
from pipeline.models.judges.rubrics import RUBRICS
from pipeline.models.trainers import MODEL
from pipeline.plan.planner import plan
from pipeline.store import Store, artifact
from pipeline.store.local_cache import cache_folder, local_folder
from pipeline.study.schema import Study

COLUMNS = ("prompt", "completion", "label")
LABELS = {"1": True, "0": False}


def show(
    console: Console,
    study: Study,
    store: Store,
    name: str,
    rubric: str,
    file: Path,
    threshold: float,
    positive: Literal["high", "low"],
    word: str | None,
) -> None:
    """Judge every row and print the agreement with the labels. Raises InputError."""
    if name not in study.judges:
        raise InputError(f"{study.study} has no judge {name}; it has {', '.join(study.judges) or 'none'}")
    if rubric not in RUBRICS:
        raise InputError(f"unknown rubric {rubric}; choose one of {', '.join(RUBRICS)}")
    if "{word}" in RUBRICS[rubric].template and not word:
        raise InputError(f"the rubric {rubric} looks for a word: name it with --word")
    rows = [row for table in tables(file, COLUMNS) for row in table.to_pylist()]
    if not rows:
        raise InputError(f"{file} holds no rows")
    incomplete = next((n for n, row in enumerate(rows, 1) if None in row.values()), None)
    if incomplete is not None:
        raise InputError(f"{file}: row {incomplete} lacks its {' or '.join(COLUMNS)}")
    unknown = next((row["label"] for row in rows if row["label"] not in LABELS), None)
    if unknown is not None:
        raise InputError(f"{file}: label is {unknown!r}, and must be 1 or 0, as a string")
    with _engine(study, store, study.judges[name]) as (engine, weights):
        judge = open_judge(
            study.judges[name],
            RUBRICS[rubric],
            engine=engine,
            weights=weights,
            cache=cache_folder() / "verdicts.sqlite",
        )
        items = [JudgeInput(row["prompt"], row["completion"], word) for row in rows]
        verdicts = judge.judge(items, list(range(len(items))))
    labels = [LABELS[row["label"]] for row in rows]
    scores = [None if verdict.score is None else float(verdict.score) for verdict in verdicts]
    _print(console, agreement(labels, scores, threshold=threshold, positive=positive), threshold)


@contextmanager
def _engine(study: Study, store: Store, judge: JudgeSettings) -> Iterator[tuple[Engine | None, str]]:
    """A served judge's engine, in this process, and its base's artifact; (None, "") for other judges."""
    if judge.served_by is None:
        yield None, ""
        return
    step = next(step for step in plan(study) if step.kind == "base" and step.slug == judge.served_by)
    base, manifest = step.path, artifact.load_planned(store, step)
    if manifest is None:
        raise InputError(f"{store.root} has no {base} yet: run the study first, or name another --root")
    engines = study.resources.engines
    folder = local_folder(store, base, manifest.files, MODEL)
    engine = open_engine(
        study.engine,
        folder,
        memory_gib=engines.memory_gib,
        adapter_rank=0,
        gpus=engines.gpus,
        tensor_parallel=engines.tensor_parallel,
    )
    with closing(engine):
        yield engine, base


def _print(console: Console, found: Agreement, threshold: float) -> None:
    table = Table("", "", show_header=False)
    table.add_row("rows", f"{found.rows} ({found.positives} of the scored ones labelled 1)")
    table.add_row("without a score", str(found.unparsed))
    table.add_row(f"accuracy at {threshold:g}", f"{found.accuracy:.3f} ({found.least_accuracy:.3f} of all rows)")
    table.add_row("Cohen's kappa", f"{found.kappa:.3f}")
    table.add_row("area under the ROC curve", f"{found.auc:.3f} [{found.low:.3f}, {found.high:.3f}]")
    console.print(table)
    if found.roc is None:
        return
    roc = Table("threshold", "false positives", "true positives", title="ROC")
    points = zip(found.roc.thresholds, found.roc.false_positive_rate, found.roc.true_positive_rate, strict=True)
    for at, false, true in points:
        roc.add_row(f"{at:g}", f"{false:.3f}", f"{true:.3f}")
    console.print(roc)
