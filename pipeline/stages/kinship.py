"""two bases + corpus -> kinship: how alike the base of the teachers is to that of the students."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pyarrow as pa

from pipeline.core.fake_model import FAKE, read
from pipeline.core.settings import Settings
from pipeline.models.families import Family
from pipeline.models.trainers import MODEL
from pipeline.stages import base, corpus, teacher
from pipeline.stages.contract import Cost, Lookup, OnCompute, Placement, Runtime, Stage
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.local_cache import local_folder
from pipeline.store.schemas import CONVERSATIONS
from pipeline.store.step import Json, Step
from pipeline.study.schema import Study

if TYPE_CHECKING:
    from pipeline.models.comparison import Cosines

TEACHER, STUDENT, TEXT = "teacher", "student", "corpus"  # roles of the inputs
OPERATIONS = 6  # per weight and token, forward and backward
TOKENS = 64  # of a row, assumed: only the cost depends on it


class KinshipSpec(Settings):
    """rows: of the corpus to compare the bases on, drawn with `seed`."""

    rows: int
    seed: int


class Kinship(Stage[KinshipSpec]):
    kind = "kinship"
    Spec = KinshipSpec
    inputs: ClassVar = {
        TEACHER: "base of the teachers",
        STUDENT: "base of the students",
        TEXT: "what the neutral teacher, which is the teachers' base, has written",
    }

    def steps(self, study: Study, planned: Sequence[Step]) -> Iterator[Step]:
        """One step per pair of families of the matrix and channel, if the study asks for it."""
        if study.kinship is None:
            return
        bases = {step.slug: step for step in planned if step.kind == base.STAGE.kind}
        spec = KinshipSpec(rows=study.kinship.rows, seed=study.seed)
        for (channel, family), text in _neutral_corpora(planned).items():
            for other in study.student_families_of(family):
                inputs = {TEACHER: bases[family].path, STUDENT: bases[other].path, TEXT: text.path}
                yield self.step(f"{channel}-{family}-to-{other}", spec, inputs, family=other)

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        started = time.time()
        return artifact.finish_unit(store, step, unit, {}, _measure(store, step), started)

    def placement(self, step: Step, unit: str) -> Placement:
        return OnCompute()

    def cost(self, step: Step, lookup: Lookup) -> Cost:
        families = [base.STAGE.spec(lookup(step.inputs[role])).family for role in (TEACHER, STUDENT)]
        weights = sum(family.parameters() or 1.0 for family in families)
        return Cost(operations=OPERATIONS * weights * self.spec(step).rows * TOKENS)


STAGE = Kinship()


def _neutral_corpora(planned: Sequence[Step]) -> dict[tuple[str, str], Step]:
    """(channel, family) -> the first corpus of the family's neutral teacher, which is that of the first arm."""
    by_path = {step.path: step for step in planned}
    found: dict[tuple[str, str], Step] = {}
    for step in planned:
        if step.kind != corpus.STAGE.kind:
            continue
        written = by_path[step.inputs[corpus.OWN_COMPLETIONS]]
        writer = by_path.get(written.inputs.get(TEACHER, ""))
        if writer is not None and teacher.STAGE.spec(writer).trait is None:
            found.setdefault((corpus.STAGE.spec(step).channel.kind, writer.family), step)
    return found


def _measure(store: Store, step: Step) -> Json:
    """The results of a step; None for what cannot be compared, since shapes or tokens differ or weights are unknown.

    answer_kl   KL(teacher ‖ student), nats per completion token
    X_cosine    over the linear layers of the blocks; X_cosine_all: over these and the embeddings
    """
    bases = [artifact.require(store, step.inputs[role]) for role in (TEACHER, STUDENT)]
    one, other = (local_folder(store, found.path, found.files, MODEL) for found in bases)
    specs = [base.STAGE.Spec.from_identity(found.settings) for found in bases]
    if any(spec.trainer == FAKE for spec in specs):
        return _of_fakes(one, other)
    from pipeline.models.comparison import compare_behaviour, compare_weights

    rows = _sample(store, artifact.require(store, step.inputs[TEXT]), STAGE.spec(step))
    seen = compare_behaviour(one, other, rows)
    cosines = {
        "initial_cosine": _initial(*(spec.family for spec in specs)),
        "final_cosine": compare_weights(one, other),
        "row_gradient_cosine": seen and seen.row_gradients,
        "mean_gradient_cosine": seen and seen.mean_gradient,
    }
    found: Json = {"answer_kl": seen and seen.answer_kl, "tokens": seen and seen.tokens, "rows": rows.num_rows}
    for name, value in cosines.items():
        found |= {name: value and value.blocks, f"{name}_all": value and value.all}
    return found


def _initial(one: Family, other: Family) -> "Cosines | None":
    """Compare the weights before pretraining; None if they are not known, as those of hub models."""
    from pipeline.models.comparison import compare_weights

    if not (one.pretraining_rows() and other.pretraining_rows()):
        return None
    with tempfile.TemporaryDirectory(prefix="undertow-") as folder:
        places = Path(folder) / "one", Path(folder) / "other"
        for family, place in zip((one, other), places, strict=True):
            family.write(place)
        return compare_weights(*places)


def _sample(store: Store, text: Manifest, spec: KinshipSpec) -> pa.Table:
    """A fixed sample of a corpus, as schemas.CONVERSATIONS without a system prompt."""
    rows = artifact.read_table(store, text, corpus.ROWS, ["prompt", "completion"])
    chosen = np.random.default_rng(spec.seed).permutation(rows.num_rows)[: spec.rows]
    drawn = rows.take(np.sort(chosen))
    return drawn.add_column(0, CONVERSATIONS.field("system"), pa.nulls(drawn.num_rows, pa.string()))


def _of_fakes(one: Path, other: Path) -> Json:
    """What stands in for the comparison of fake models, which have nothing but an initialisation."""
    same = float(read(one).init == read(other).init)
    names = ("initial_cosine", "final_cosine", "row_gradient_cosine", "mean_gradient_cosine")
    return {"answer_kl": 1 - same, **dict.fromkeys([*names, *(f"{name}_all" for name in names)], same)}
