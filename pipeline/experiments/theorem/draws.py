"""The step that makes all draws, in batches of one combination."""

import time
from collections.abc import Sequence

import pyarrow as pa

from pipeline.core.settings import Settings
from pipeline.experiments.theorem.conditions import DRAWS
from pipeline.experiments.theorem.settings import Design
from pipeline.stages.contract import Cost, Lookup, OnCompute, Runtime, Stage
from pipeline.store import Store, artifact
from pipeline.store.step import Json, Step

NAME = "draws"
DRAWS_PER_UNIT = 56  # at most; a few seconds
OPERATIONS = 4e8  # floating-point, of one draw of nano Llama, as torch counts them


class DrawsSpec(Settings):
    design: Design


class Draws(Stage[DrawsSpec]):
    kind = "theorem_draws"
    Spec = DrawsSpec

    def planned(self, design: Design) -> Step:
        return self.step(NAME, DrawsSpec(design=design), {})

    def placement(self, step: Step, unit: str) -> OnCompute:
        return OnCompute()

    def units(self, store: Store, step: Step) -> list[list[str]]:
        return [names(self.spec(step).design)]

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        started = time.time()
        table = drawn(self.spec(step).design, numbers(unit))
        return artifact.finish_unit(store, step, unit, {f"{unit}.parquet": table}, {"rows": table.num_rows}, started)

    def summarise(self, step: Step, records: Sequence[Json]) -> Json:
        return {"draws": self.spec(step).design.total, "rows": sum(record["results"]["rows"] for record in records)}

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        design = self.spec(step).design
        return Cost(operations=design.total * OPERATIONS, units=len(names(design)))


STAGE = Draws()


def names(design: Design) -> list[str]:
    """Names of the units, draws-FIRST-LAST. Draws are numbered combination by combination; a unit is of one."""
    found = []
    for start in range(0, design.total, design.draws):
        end = start + design.draws
        found += [
            f"{NAME}-{first}-{min(first + DRAWS_PER_UNIT, end) - 1}" for first in range(start, end, DRAWS_PER_UNIT)
        ]
    return found


def numbers(unit: str) -> range:
    """The draws of a unit, from its name."""
    _, first, last = unit.split("-")
    return range(int(first), int(last) + 1)


def drawn(design: Design, of: range) -> pa.Table:
    """The rows of these draws, which are of one combination."""
    from pipeline.experiments.theorem.draw import Combination, measured

    number, first = divmod(of.start, design.draws)
    combination = Combination(*design.combinations[number], design.teacher_steps, design.student_step)
    rows = measured(combination, range(first, first + len(of)), design.seed)
    return pa.Table.from_pylist(rows, schema=DRAWS)
