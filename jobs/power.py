"""What `undertow plan` says of a design before anything is spent on it."""

import math
from dataclasses import replace

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.analysis.power import (
    ACROSS_FAMILIES,
    OWN_FAMILY,
    Design,
    detectable_effect,
    equivalence_power,
    smallest_p,
)
from pipeline.study.schema import Study


def show_power(console: Console, study: Study) -> None:
    """The power of each cell of a study of favourites, and of designs with one more trait or seed. Else nothing."""
    targets = [target for trait in study.traits if trait.METRIC == "margin" for target in trait.targets]
    if not targets:
        return
    design = Design(len(targets), len(study.students.seeds))
    designs = {
        "this design": design,
        "one more trait": replace(design, teachers=design.teachers + 1),
        "one more seed": replace(design, seeds=design.seeds + 1),
    }
    measure = study.measure
    table = Table(title=Text(f"what a cell can show (margin, {measure.confidence:.0%} intervals over teachers)"))
    for name in ("design", "students", "smallest p", "own family: effect", "null", "across: effect", "null"):
        table.add_column(name, justify="left" if name == "design" else "right")
    for name, alternative in designs.items():
        cells = [name, str(alternative.students), f"{smallest_p(alternative):.2g}"]
        for spread in (OWN_FAMILY, ACROSS_FAMILIES):
            effect = detectable_effect(alternative, spread, measure.confidence)
            null = equivalence_power(measure.margin_nats, alternative, spread, measure.confidence)
            cells += ["none" if math.isinf(effect) else f"{effect:.2f}", f"{null:.0%}"]
        table.add_row(*cells)
    console.print(table)
    console.print(
        "Effect: the lift in nats that gets the verdict transfer with a power of 80 %. Null: the probability that a "
        f"cell of no effect gets the verdict no transfer, within ±{measure.margin_nats:g} nats. Computed from the "
        "spread of the quickstart's teachers and students; other models and recipes have their own."
    )
