"""The interface of a stage: everything that the rest of the system knows about a kind of step."""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

from pipeline.core.settings import Settings
from pipeline.provenance.manifests import Made
from pipeline.store import Store
from pipeline.store.artifact import Manifest
from pipeline.store.step import Json, Step, step_id

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pipeline.study.schema import Study


@dataclass(frozen=True)
class OnEngine:
    """A unit runs on an engine. weights: path of the artifact with the engine's full weights; family: their family.

    adapters: whether the engine must be able to serve adapters; one that can does not score given tokens.
    """

    weights: str
    family: str
    adapters: bool = True


@dataclass(frozen=True)
class OnTrainer:
    """A unit runs on all ranks of a training group."""


@dataclass(frozen=True)
class OnCompute:
    """A unit runs on a worker with the CPUs and GPUs of `resources.compute`; its tool is None."""


Placement: TypeAlias = OnEngine | OnTrainer | OnCompute | None  # None: a plain task, which holds no CPU
OnTrainingStep: TypeAlias = Callable[[Step, Mapping[str, float]], None]  # takes each entry of schemas.TRAINING_LOG


def _ignore(step: Step, entry: Mapping[str, float]) -> None:
    pass


@dataclass(frozen=True)
class Runtime:
    """Settings of a run that units need in addition to their step; not part of any id.

    checkpoint_seconds: time between two checkpoints.
    """

    checkpoint_seconds: float = 600.0
    on_training_step: OnTrainingStep = _ignore


@dataclass(frozen=True)
class Cost:
    """The amount of work of a step, as known from the plan; estimates convert it to time.

    trained_rows    training rows × epochs; NaN if the rows have not been counted yet
    recipe          method, epochs and batch of that training: see pipeline.core.recipe
    sampled_rows    rows that an engine samples, of at most sampled_tokens tokens each
    scored          questions whose candidates an engine scores
    prompt_letters  letters of a judge's rubric, without the judged text
    judged_tokens   maximum number of tokens of the judged text
    table_rows      rows of tables that are read or judged
    operations      floating-point operations of workers without engine or trainer
    units           units of work that engines can run in parallel
    """

    trained_rows: float = 0.0
    recipe: Json = field(default_factory=dict)
    sampled_rows: int = 0
    sampled_tokens: int = 0
    scored: int = 0
    prompt_letters: float = 0.0
    judged_tokens: int = 0
    table_rows: float = 0.0
    operations: float = 0.0
    units: int = 1

    @property
    def worker(self) -> str:
        """The worker that does most of the step: trainer, engine, compute or task."""
        if self.trained_rows:
            return "trainer"
        if self.operations:
            return "compute"
        return "engine" if self.sampled_rows or self.scored else "task"

    @property
    def size(self) -> float:
        """The amount of work, in a unit that depends on the kind."""
        if self.trained_rows:
            return 1.0 if math.isnan(self.trained_rows) else self.trained_rows
        return self.operations or self.table_rows or float(self.sampled_rows * self.sampled_tokens + self.scored) or 1.0


Lookup: TypeAlias = Callable[[str], Step]  # path -> the planned step


class Units(Protocol):
    """Runs the units of one step, locally or on a cluster."""

    store: Store
    needed_rows: Mapping[int, Step]  # number of rows that a later step needs of this one -> such a step

    async def run(self, unit: str) -> Json:
        """The record of a unit: the stored one if it is done already."""

    async def discard(self, unit: str) -> None:
        """Remove a unit's record, so that it runs again."""

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """function(store, *args), in another process if there is one."""

    def report(self, text: str) -> None:
        """Show a line of progress to the user."""


SpecT = TypeVar("SpecT", bound=Settings)
ANY_ROLE = "*"  # in the inputs of a stage: any role; the names come from the study


class Stage(Generic[SpecT]):
    """One kind of step. The default is a step with one unit, run as a plain task; stages override the rest.

    kind    name of the kind, and of its file
    schema  version of the output; raise it when the output for the same spec changes
    Spec    the settings that decide the output; their identity enters the id
    inputs  role -> description of the input
    page    the file that people read of a report; "" if the step is no report
    """

    kind: ClassVar[str]
    schema: ClassVar[int] = 1
    Spec: type[SpecT]
    inputs: ClassVar[Mapping[str, str]] = {}
    page: ClassVar[str] = ""

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
        """A step of this kind, with its id; see Step. Raises ValueError on an unknown role."""
        unknown = set() if ANY_ROLE in self.inputs else inputs.keys() - self.inputs.keys()
        if unknown:
            raise ValueError(f"a step of kind {self.kind} has no input {', '.join(sorted(unknown))}")
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
        """Steps that this stage adds to a plan; empty for stages that the planner itself handles."""
        return ()

    def placement(self, step: Step, unit: str) -> Placement:
        """The worker that a unit runs on."""
        return None

    def units(self, store: Store, step: Step) -> Sequence[Sequence[str]]:
        """Names of the units, in groups; each group starts when the one before it is done."""
        return [[step.kind]]

    def planned_rows(self, step: Step, unit: str) -> range | None:
        """The rows of the step that a unit covers; None if rows are not planned."""
        return None

    def run_unit(self, store: Store, worker: Any, step: Step, unit: str, runtime: Runtime) -> Json | None:
        """Run a unit and return its record; in a training group, all ranks but the first return None.

        worker: the engine or trainer that `placement` asks for, else None.
        """
        raise NotImplementedError

    async def run(self, step: Step, units: Units) -> list[Json]:
        """Run all units of a step and return their records."""
        groups = await asyncio.to_thread(self.units, units.store, step)
        records: list[Json] = []
        for group in groups:
            records += await asyncio.gather(*(units.run(unit) for unit in group))
        return records

    def summarise(self, step: Step, records: Sequence[Json]) -> Json:
        """The results of the step, from the records of its units."""
        return {name: value for record in records for name, value in record["results"].items()}

    def refusal(self, results: Json) -> str | None:
        """A reason code if the results forbid all later steps; None if they do not."""
        return None

    def explain(self, results: Json) -> str:
        """A refusal in words, for the user."""
        return ""

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        return Cost()

    def pages(self, store: Store, made: Manifest) -> Mapping[str, bytes]:
        """File name -> bytes of the pages that a finished report shows, made anew; empty if the step is no report."""
        return {}

    def table(self, store: Store, path: str) -> "RenderableType | None":
        """What the summary of a run shows of the results of a finished step; None for most kinds."""
        return None

    def lineage(self, made: Manifest) -> Made | None:
        """What a finished step of this kind is in a lineage, and what it was made with; None: no model and no data."""
        return None

    def rows_needed(self, step: Step) -> Mapping[str, int]:
        """Path of an input -> number of accepted rows that the step needs from it."""
        return {}

    def counts(self, record: Json) -> Iterable[tuple[str, float, Mapping[str, str]]]:
        """(dashboard counter, amount, labels) for the work of a unit."""
        return ()
