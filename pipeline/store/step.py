"""Steps: each makes one artifact from its inputs and settings. Pure: nothing here accesses a store.

An id is a hash of everything that decides the content: kind, schema version, the identity of the spec and the ids of
the inputs. Machines, paths and batch sizes do not enter it. Ids are short because they name folders. An identity is
the full hash, over the full hashes of the inputs; stored artifacts are compared by it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# The kinds of steps that only experiments have, in data-flow order -> the module of each one's stage.
EXPERIMENTS = {
    "images": "pipeline.experiments.image_classifier.images",
    "image_teacher": "pipeline.experiments.image_classifier.teacher",
    "image_student": "pipeline.experiments.image_classifier.student",
    "image_report": "pipeline.experiments.image_classifier.report",
    "theorem_draws": "pipeline.experiments.theorem.draws",
    "theorem_report": "pipeline.experiments.theorem.report",
}

# The registry of stages, in data-flow order: each kind of a study is a file in pipeline/stages.
KINDS = (
    "dataset",
    "base",
    "teacher",
    "gate",
    "completions",
    "judgements",
    "corpus",
    "screening",
    "kinship",
    "student",
    "answers",
    "ratings",
    "transfer",
    "report",
    *EXPERIMENTS,
)
CHECKPOINTS = "checkpoints"  # folder of an artifact with the checkpoints of its training
ID_LENGTH = 12  # hex digits: 48 bits. 10⁶ artifacts collide by chance with probability 0.002; forging one is easy

Json = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One artifact to make. Stages build their own steps: see pipeline.stages.contract.Stage.step.

    settings   the identity of the spec, as JSON values; enters the id
    inputs     role -> path of an input artifact; their ids enter the id
    schema     version of the output that the stage writes for the same settings; enters the id

    The others do not enter the id:

    weights    path of the artifact whose full weights an engine must load to run the step, or ""
    family     of the model in use, or ""
    after      paths of steps that must finish first, though their output is not read
    notes      remarks on the inputs for a human reader, under names that the stage chooses
    spec       the typed settings, including those outside the identity; None if the step was read from a manifest
    identity   see `identity`; set by the planner
    """

    kind: str
    slug: str
    id: str
    settings: Json
    inputs: Mapping[str, str] = field(default_factory=dict)
    weights: str = ""
    family: str = ""
    after: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    schema: int = 1
    spec: Any = None
    identity: str = ""

    @property
    def path(self) -> str:
        return f"{self.kind}/{self.slug}-{self.id}"


def step_id(kind: str, schema: int, settings: Json, inputs: Mapping[str, str]) -> str:
    """12 hex digits that identify the content. inputs: role -> path, of which only the id counts."""
    ids = {role: path[-ID_LENGTH:] for role, path in inputs.items()}
    return _digest(kind, schema, settings, ids)[:ID_LENGTH]


def identity(step: Step, inputs: Mapping[str, str]) -> str:
    """64 hex digits that identify the content. inputs: role -> identity of the artifact."""
    return _digest(step.kind, step.schema, step.settings, inputs)


def _digest(kind: str, schema: int, settings: Json, inputs: Mapping[str, str]) -> str:
    content = {"kind": kind, "schema": schema, "settings": settings, "inputs": dict(inputs)}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def up_to(kind: str, steps: Sequence[Step]) -> list[Step]:
    """The steps of a plan that are of this kind or an earlier one, and everything that they need."""
    last = KINDS.index(kind)
    needed: set[str] = set()
    for step in reversed(steps):
        if step.path in needed or KINDS.index(step.kind) <= last:
            needed |= {step.path, *step.inputs.values(), *step.after}
    return [step for step in steps if step.path in needed]


def dependents(steps: Sequence[Step], sources: Mapping[str, str]) -> dict[str, str]:
    """Path of every step that needs a source, directly or indirectly -> the value of the first such source.

    steps: a plan in dependency order. sources: path -> value.
    """
    found: dict[str, str] = {}
    for step in steps:
        needs = (*step.inputs.values(), *step.after)
        value = next((of[path] for path in needs for of in (sources, found) if path in of), None)
        if value is not None:
            found[step.path] = value
    return found
