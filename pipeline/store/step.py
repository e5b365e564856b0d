"""One artifact to be made: its id, what it reads and what it is to be. Pure; nothing here looks at a store.

An id is a hash of what decides the content: kind, schema version, the identity of the spec and the ids of the inputs.
Machines, paths and batch sizes are no part of it. Ids are short, because they name folders; an identity is the whole
hash, of the whole hashes of the inputs, and is what a stored artifact is compared by.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# The registry of stages, in the order of the data path: each kind is a file of pipeline/stages.
KINDS = (
    "dataset",
    "base",
    "teacher",
    "gate",
    "completions",
    "judgements",
    "corpus",
    "student",
    "answers",
    "ratings",
    "transfer",
    "report",
)
CHECKPOINTS = "checkpoints"  # the folder of an artifact that holds those of its training
ID_LENGTH = 12  # hex digits: 48 bits, so 10⁶ artifacts collide by chance with probability 0.002, and by intent soon

Json = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One artifact to be made. Stages build their own steps: see pipeline.stages.contract.Stage.step.

    settings   the identity of the spec, as JSON values; it enters the id
    inputs     role -> path of the artifact that it reads; the ids of these enter the id

    The others are no part of the id:

    weights    path of the artifact whose full weights an engine must hold to run the step, or ""
    family     of the model at work, or ""
    after      paths of what must be done before it, though it reads none of that
    notes      what a person should know of its inputs, by a name that its stage gives
    schema     version of what its stage writes for the same settings
    spec       the typed settings, with those that are no part of an identity; None where it was read from a manifest
    identity   see `identity`; the planner sets it
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
    """12 hex digits that stand for the content. inputs: role -> path, of which only the id counts."""
    ids = {role: path[-ID_LENGTH:] for role, path in inputs.items()}
    return _digest(kind, schema, settings, ids)[:ID_LENGTH]


def identity(step: Step, inputs: Mapping[str, str]) -> str:
    """64 hex digits that stand for the content. inputs: role -> identity of the artifact."""
    return _digest(step.kind, step.schema, step.settings, inputs)


def _digest(kind: str, schema: int, settings: Json, inputs: Mapping[str, str]) -> str:
    content = {"kind": kind, "schema": schema, "settings": settings, "inputs": dict(inputs)}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def up_to(kind: str, steps: Sequence[Step]) -> list[Step]:
    """The steps of a plan that are of that kind or of one before it, and whatever those need."""
    last = KINDS.index(kind)
    needed: set[str] = set()
    for step in reversed(steps):
        if step.path in needed or KINDS.index(step.kind) <= last:
            needed |= {step.path, *step.inputs.values(), *step.after}
    return [step for step in steps if step.path in needed]


def dependents(steps: Sequence[Step], sources: Mapping[str, str]) -> dict[str, str]:
    """Path of every step that needs one of the sources, directly or not -> what the first of these has for a value.

    steps: a plan, each step after what it needs. sources: path -> value.
    """
    found: dict[str, str] = {}
    for step in steps:
        needs = (*step.inputs.values(), *step.after)
        value = next((of[path] for path in needs for of in (sources, found) if path in of), None)
        if value is not None:
            found[step.path] = value
    return found
