"""The contract of a stage: all that the rest of the system knows about one kind of step."""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

from pipeline.core.settings import Settings
from pipeline.store import Store
from pipeline.store.step import Json, Step, step_id

if TYPE_CHECKING:
    from pipeline.study.schema import Study


@dataclass(frozen=True)
class OnEngine:
    """A unit runs beside an engine. weights: path of the artifact whose full weights it holds; family: their family."""

    weights: str
    family: str


@dataclass(frozen=True)
class OnTrainer:
    """A unit runs on all ranks of a training group."""


Placement: TypeAlias = OnEngine | OnTrainer | None  # None: a plain task
OnTrainingStep: TypeAlias = Callable[[Step, Mapping[str, float]], None]  # gets every entry of schemas.TRAINING_LOG


def _ignore(step: Step, entry: Mapping[str, float]) -> None:
    pass


@dataclass(frozen=True)
class Runtime:
    """What units need of a run besides their step; no part of any id.

    checkpoint_seconds: time between two checkpoints.
    """

    checkpoint_seconds: float = 600.0
    on_training_step: OnTrainingStep = _ignore


@dataclass(frozen=True)
class Cost:
    """What a step takes, as far as the plan tells; estimates turn it into time.

    trained_rows    rows × epochs that a model is trained on; NaN where nobody has counted the rows yet
    recipe          method, epochs and batch of that training: see pipeline.core.recipe
    sampled_rows    rows that an engine samples, of at most sampled_tokens tokens each
    scored          questions whose candidates an engine scores
    prompt_letters  of a judge's rubric around the text that it judges
    judged_tokens   the most tokens of that text
    table_rows      rows of tables that are read or judged
    units           units of work that an engine can do at once
    """

    trained_rows: float = 0.0
    recipe: Json = field(default_factory=dict)
    sampled_rows: int = 0
    sampled_tokens: int = 0
    scored: int = 0
    prompt_letters: float = 0.0
    judged_tokens: int = 0
    table_rows: float = 0.0
    units: int = 1

    @property
    def worker(self) -> str:
        """What most of the step takes place on: trainer, engine or task."""
        if self.trained_rows:
            return "trainer"
        return "engine" if self.sampled_rows or self.scored else "task"

    @property
    def size(self) -> float:
        """How much a step does, in a unit of its kind."""
        if self.trained_rows:
            return 1.0 if math.isnan(self.trained_rows) else self.trained_rows
        return self.table_rows or float(self.sampled_rows * self.sampled_tokens + self.scored) or 1.0


Lookup: TypeAlias = Callable[[str], Step]  # path -> the planned step


class Units(Protocol):
    """Does the units of one step, wherever that may be."""

    store: Store
    needed_rows: Mapping[int, Step]  # rows that a later step takes of this one -> such a step

    async def run(self, unit: str) -> Json:
        """The record of a unit: the stored one where it is done already."""

    async def discard(self, unit: str) -> None:
        """Have a unit done again by the next run."""

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """function(store, *args), in another process where there are others."""

    def report(self, text: str) -> None:
        """Show a line to whoever watches the run."""


SpecT = TypeVar("SpecT", bound=Settings)
ANY_ROLE = "*"  # in the inputs of a stage: roles whose names come from the study


class Stage(Generic[SpecT]):
    """One kind of step. A stage overrides what differs from a step of one unit that is a plain task.

    kind    name of the kind, which is the name of its file too
    schema  raised when the stage starts to write something else for the same spec
    Spec    the settings that decide what a step writes: their identity enters the id
    inputs  role -> what the step reads there
    """

    kind: ClassVar[str]
    schema: ClassVar[int] = 1
    Spec: type[SpecT]
    inputs: ClassVar[Mapping[str, str]] = {}

    def step(
        self,
        slug: str,
        spec: SpecT,
        inputs: Mapping[str, str],
        *,
        weights: str = "",
        family: str = "",
        after: Sequence[str] = (),
    ) -> Step:
        """A step of this kind with its id; see Step."""
        unknown = set() if ANY_ROLE in self.inputs else inputs.keys() - self.inputs.keys()
        if unknown:
            raise ValueError(f"a step of kind {self.kind} reads no {', '.join(sorted(unknown))}")
        settings = spec.identity()
        return Step(
            self.kind,
            slug,
            step_id(self.kind, self.schema, settings, inputs),
            settings,
            inputs,
            weights=weights,
            family=family,
            after=tuple(after),
            schema=self.schema,
            spec=spec,
        )

    def spec(self, step: Step) -> SpecT:
        """The typed settings of a step of this kind."""
        found: SpecT = step.spec or self.Spec.from_identity(step.settings)
        return found

    def steps(self, study: "Study", planned: Sequence[Step]) -> Iterable[Step]:
        """Steps that it adds to a plan; none of a stage that the planner lays down itself."""
        return ()

    def placement(self, step: Step, unit: str) -> Placement:
        """What a unit runs on."""
        return None

    def units(self, store: Store, step: Step) -> Sequence[Sequence[str]]:
        """Names of its units: each group starts when the group before it is done."""
        return [[step.kind]]

    def planned_rows(self, step: Step, unit: str) -> range | None:
        """The rows of the step that a unit covers, where they are planned."""
        return None

    def run_unit(self, store: Store, worker: Any, step: Step, unit: str, runtime: Runtime) -> Json | None:
        """Do a unit and return its record; None on all ranks of a training group but the first.

        worker: the engine or the trainer that `placement` asks for, else None.
        """
        raise NotImplementedError

    async def run(self, step: Step, units: Units) -> list[Json]:
        """The records of all units of a step."""
        groups = await asyncio.to_thread(self.units, units.store, step)
        records: list[Json] = []
        for group in groups:
            records += await asyncio.gather(*(units.run(unit) for unit in group))
        return records

    def summarise(self, step: Step, records: Sequence[Json]) -> Json:
        """The results of the step, from the records of its units."""
        return {name: value for record in records for name, value in record["results"].items()}

    def refusal(self, results: Json) -> str | None:
        """A code, where the results of a step say that nothing after it may be made; None where it may."""
        return None

    def explain(self, results: Json) -> str:
        """A refusal in words, for a person."""
        return ""

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        return Cost()

    def rows_needed(self, step: Step) -> Mapping[str, int]:
        """Path of an input -> accepted rows that the step must get from it."""
        return {}

    def counts(self, record: Json) -> Iterable[tuple[str, float, Mapping[str, str]]]:
        """(counter of the dashboard, amount, labels) of what a unit did."""
        return ()
