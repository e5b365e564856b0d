"""One artifact to be made: its id, what it reads and what it is to be. Pure; nothing here looks at a store.

An id is a hash of what decides the content: kind, schema version, scientific settings and the ids of
the inputs. Machines, paths and batch sizes are no part of it. Ids are short, because they name folders; an
identity is the whole hash, of the whole hashes of the inputs, and is what a stored artifact is compared by.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# The registry of stages, in the order of the data path: a kind is a file of pipeline/stages. Its number is raised when
# the stage starts to write something else for the same settings.
SCHEMA = {
    "dataset": 1,
    "base": 1,
    "teacher": 1,
    "gate": 1,
    "completions": 1,
    "judgements": 1,
    "corpus": 1,
    "student": 1,
    "answers": 2,
    "ratings": 1,
    "transfer": 4,
    "report": 4,
}
KINDS = tuple(SCHEMA)
CHECKPOINTS = "checkpoints"  # the folder of an artifact that holds those of its training
GIVEN = "given"  # the role of the data set that a step is given
OWN = "completions"  # the role of the teacher's own completions in a corpus; others have the names of the mix
CONVERSATION = ("prompt", "completion")  # columns of rows that teachers are trained on
ID_LENGTH = 12  # hex digits: 48 bits, so 10⁶ artifacts collide by chance with probability 0.002, and by intent soon

Json = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One artifact to be made.

    inputs: role -> path of the artifact it reads. weights: path of the artifact whose full weights
    an engine must hold to run the step, or "" where none is needed. family: of the model at work, or "".
    source: the local folder that a base or a suite's tasks are taken from, or "". after: paths of what must be done
    before it, though it reads none of that. at_most: completions after which a step gives up that goes on until enough
    are accepted, or 0. identity: see `identity`; the planner sets it. The last six are no part of the id.
    """

    kind: str
    slug: str
    id: str
    settings: Json
    inputs: Mapping[str, str] = field(default_factory=dict)
    weights: str = ""
    family: str = ""
    source: str = ""
    after: tuple[str, ...] = ()
    at_most: int = 0
    identity: str = ""

    @property
    def path(self) -> str:
        return f"{self.kind}/{self.slug}-{self.id}"


def step_id(kind: str, settings: Json, inputs: Mapping[str, str]) -> str:
    """12 hex digits that stand for the content. inputs: role -> path, of which only the id counts."""
    ids = {role: path[-ID_LENGTH:] for role, path in inputs.items()}
    return _digest(kind, settings, ids)[:ID_LENGTH]


def step_of(
    kind: str, slug: str, settings: Json, inputs: Mapping[str, str], weights: str = "", family: str = ""
) -> Step:
    """A step with its id."""
    return Step(kind, slug, step_id(kind, settings, inputs), settings, inputs, weights, family)


def identity(kind: str, settings: Json, inputs: Mapping[str, str]) -> str:
    """64 hex digits that stand for the content. inputs: role -> identity of the artifact."""
    return _digest(kind, settings, inputs)


def _digest(kind: str, settings: Json, inputs: Mapping[str, str]) -> str:
    content = {"kind": kind, "schema": SCHEMA[kind], "settings": settings, "inputs": dict(inputs)}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def judgements_of(name: str, number: int) -> str:
    """The role of the judgements by the rule of that number, of the completions in role `name`."""
    return f"{name}:judged:{number}"


def up_to(kind: str, steps: Sequence[Step]) -> list[Step]:
    """The steps of a plan that are of that kind or of one before it, and whatever those need."""
    last = KINDS.index(kind)
    needed: set[str] = set()
    for step in reversed(steps):
        if step.path in needed or KINDS.index(step.kind) <= last:
            needed |= {step.path, *step.inputs.values(), *step.after}
    return [step for step in steps if step.path in needed]


def completions_rows(step: Step) -> int:
    """Rows of a step that writes completions; the most that there can be where it goes on until enough are accepted."""
    rows: int = step.settings.get("rows", step.at_most)
    return rows
