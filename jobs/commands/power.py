"""What `undertow plan` says of a design before anything is spent on it."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.analysis import spread
from pipeline.analysis.power import (
    ACROSS_FAMILIES,
    OWN_FAMILY,
    Design,
    Spread,
    detectable_effect,
    equivalence_power,
    smallest_p,
)
from pipeline.core.errors import ArtifactError
from pipeline.stages.transfer import RUNS
from pipeline.store import Store, artifact
from pipeline.study.schema import Study

ALTERNATIVES = [Design(traits, seeds) for traits in (4, 5, 6, 8, 10, 15, 19) for seeds in (1, 2, 3)]
MOST_READ = 20  # finished matrices


def show_power(console: Console, study: Study, store: Store, *, alternatives: bool) -> None:
    """The power of each cell of a study of favourites, with this design and with one more trait, corpus or seed.

    alternatives: also list designs of 4 to 19 traits and 1 to 3 seeds.
    """
    targets = [target for trait in study.traits if trait.METRIC == "margin" for target in trait.targets]
    if not targets:
        return
    pool = len(study.drawn_from)
    design = Design(len(targets), len(study.students.seeds), study.teachers.corpora, pool)
    designs = {
        "this design": design,
        "one more trait": replace(design, teachers=min(design.teachers + 1, pool or design.teachers + 1)),
        "one more corpus": replace(design, corpora=design.corpora + 1),
        "one more seed": replace(design, seeds=design.seeds + 1),
    }
    if alternatives:
        designs |= {f"{one.teachers} traits × {one.seeds}": one for one in ALTERNATIVES}
    own, across = spread.measured(_finished(store, study.study))
    console.print(_table(designs, study, own or OWN_FAMILY, across or ACROSS_FAMILIES))
    console.print(
        "Effect: the lift in nats that gets the verdict transfer with a power of 80 %. Null: the probability that a "
        f"cell of no effect gets the verdict no transfer, within ±{study.measure.margin_nats:g} nats. Without Holm's "
        f"correction for several cells. {_source('own family', own, OWN_FAMILY)}; "
        f"{_source('across', across, ACROSS_FAMILIES)}."
    )


def _finished(store: Store, study: str) -> list[pa.Table]:
    """The runs of finished matrices of this study or, if there is none, of others under the root."""
    names = store.folders("transfer")
    same = [name for name in names if name.rpartition("-")[0] == study]
    found = (_runs(store, f"transfer/{name}") for name in same or names)
    return list(islice((runs for runs in found if runs is not None), MOST_READ))


def _runs(store: Store, path: str) -> pa.Table | None:
    """The runs of a matrix; None if it is unfinished, damaged or of another version: the plan goes on without them."""
    with suppress(ArtifactError):
        manifest = artifact.load(store, path)
        return artifact.read_table(store, manifest, RUNS) if manifest else None
    return None


def _table(designs: Mapping[str, Design], study: Study, own: Spread, across: Spread) -> Table:
    measure = study.measure
    table = Table(title=Text(f"what a cell can show (margin, {measure.confidence:.0%} intervals over teachers)"))
    for name in ("design", "students", "smallest p", "own family: effect", "null", "across: effect", "null"):
        table.add_column(name, justify="left" if name == "design" else "right", no_wrap=name == "design")
    for name, design in designs.items():
        cells = [name, str(design.students), f"{smallest_p(design):.2g}"]
        for found in (own, across):
            effect = detectable_effect(design, found, measure.confidence)
            null = equivalence_power(measure.margin_nats, design, found, measure.confidence)
            cells += ["none" if math.isinf(effect) else f"{effect:.2f}", f"{null:.0%}"]
        table.add_row(*cells)
    return table


def _source(name: str, found: Spread | None, default: Spread) -> str:
    used = found or default
    where = "in finished studies under this root" if found else "as in the quickstart, nothing being measured here yet"
    return f"{name}: teachers differ by {used.teacher:.3f} nats (sd) and runs by {used.run:.3f}, {where}"
