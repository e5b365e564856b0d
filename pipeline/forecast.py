"""What a study will take: steps done and left, tokens, and seconds of work at the rates seen so far."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline import artifact
from pipeline.plan import KINDS, Step
from pipeline.store import Store
from pipeline.study import Study

SAMPLED = 32  # finished steps of a kind whose manifests are read for its rate


@dataclass(frozen=True)
class Row:
    """One stage. tokens: upper bound of what is left to generate. seconds: work left, over all workers."""

    kind: str
    steps: int
    done: int
    tokens: int
    seconds: float | None


def forecast(study: Study, steps: Sequence[Step], store: Store) -> list[Row]:
    """One row a stage. A rate comes from finished steps of the same kind under this root, or is None."""
    return [_row(study, kind, [step for step in steps if step.kind == kind], store) for kind in KINDS]


def _row(study: Study, kind: str, steps: Sequence[Step], store: Store) -> Row:
    done = [step for step in steps if store.exists(f"{step.path}/{artifact.MANIFEST}")]
    left = len(steps) - len(done)
    pace = _seconds_a_step(store, done[:SAMPLED])
    seconds = 0.0 if left == 0 else None if pace is None else left * pace
    return Row(kind, len(steps), len(done), left * _tokens(study, kind), seconds)


def _tokens(study: Study, kind: str) -> int:
    """The most tokens that one step of a kind generates."""
    if kind == "completions":
        return study.completions.rows * study.completions.max_tokens
    if kind == "answers":
        suite = study.suites[0]
        questions = sum(len(suite.asked(category)) for category in study.candidates)
        return questions * suite.samples * suite.max_tokens
    return 0


def _seconds_a_step(store: Store, done: Sequence[Step]) -> float | None:
    times = [artifact.require(store, step.path).produced["seconds"] for step in done]
    return sum(times) / len(times) if times else None
