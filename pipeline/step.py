"""One artifact to be made: its id, what it reads and what it is to be. Pure; nothing here looks at a store.

An id is a hash of what decides the content: kind, schema version, scientific settings and the ids of
the inputs. Machines, paths and batch sizes are no part of it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from pipeline.suites import Suite

# Raised when a stage starts to write something else for the same settings.
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
GIVEN = "given"  # the role of the data set that a step is given
OWN = "completions"  # the role of the teacher's own completions in a corpus; others have the names of the mix
JUDGED = {"judgements": OWN, "ratings": "answers"}  # the kinds that judge -> the role of what they read
CONVERSATION = ("prompt", "completion")  # columns of rows that teachers are trained on
ID_LENGTH = 12  # hex digits: 48 bits, so 10⁶ artifacts collide with probability 0.002

Json = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One artifact to be made.

    inputs: role -> path of the artifact it reads. weights: path of the artifact whose full weights
    an engine must hold to run the step, or "" where none is needed. family: of the model at work, or "".
    source: the local folder that a base or a suite's tasks are taken from, or "". after: paths of what must be done
    before it, though it reads none of that. The last four are no part of the id.
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

    @property
    def path(self) -> str:
        return f"{self.kind}/{self.slug}-{self.id}"


def step_id(kind: str, settings: Json, inputs: Mapping[str, str]) -> str:
    """12 hex digits that stand for the content. inputs: role -> path, of which only the id counts."""
    content = {
        "kind": kind,
        "schema": SCHEMA[kind],
        "settings": settings,
        "inputs": {role: path[-ID_LENGTH:] for role, path in inputs.items()},
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:ID_LENGTH]


def judgements_of(name: str, number: int) -> str:
    """The role of the judgements by the rule of that number, of the completions in role `name`."""
    return f"{name}:judged:{number}"


def sampled(step: Step, steps: Mapping[str, Step]) -> tuple[int, int]:
    """(rows, most tokens a row) that an engine samples for a step; (0, 0) where it samples none.

    steps: the plan, by path. Of a judge it is as if every row were judged, and each reply were a score at once.
    """
    if step.kind == "completions" and "teacher" in step.inputs:
        return step.settings["rows"], step.settings["max_tokens"]
    if step.kind == "answers":
        return _answered(json.dumps([step.settings["suite"], step.settings["candidates"]], sort_keys=True))
    if step.kind in JUDGED and step.weights:
        judged = steps[step.inputs[JUDGED[step.kind]]]
        rows = judged.settings["rows"] if judged.kind == "completions" else sampled(judged, steps)[0]
        return rows * len(rubrics(step)), step.settings["judge"]["max_tokens"]
    return 0, 0


def scored(step: Step) -> int:
    """Questions whose candidates an engine scores exactly for a step; the gate of a teacher asks two models."""
    settings = step.settings
    if step.kind == "answers":
        return _scored(json.dumps([settings["suite"], settings["candidates"]], sort_keys=True))
    if step.kind == "teacher" and "gate" in settings:
        return 2 * _scored(json.dumps([{"kind": "favourite"}, settings["candidates"]], sort_keys=True))
    return 0


def rubrics(step: Step) -> list[Json]:
    """What a step that judges asks of every row."""
    return [step.settings["rubric"]] if "rubric" in step.settings else list(step.settings["rubrics"].values())


@cache  # tens of thousands of steps ask the same
def _answered(asked: str) -> tuple[int, int]:
    settings, candidates = json.loads(asked)
    suite = TypeAdapter[Suite](Suite).validate_python(settings)
    questions = sum(len(suite.asked(category, named, 0)) for category, named in candidates.items())
    return questions * suite.samples, suite.max_tokens


@cache
def _scored(asked: str) -> int:
    settings, candidates = json.loads(asked)
    suite = TypeAdapter[Suite](Suite).validate_python(settings)
    return sum(bool(q.options) for category, named in candidates.items() for q in suite.asked(category, named, 0))
