"""Asks a judge until its reply is a score; shared by all judges that reply in text."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pipeline.models.judges import BaseJudge, Verdict
from pipeline.models.judges.rubrics import Rubric
from pipeline.models.judges.verdicts import parse

RETRY_TEMPERATURE = 1.0  # of further attempts if the first was greedy
Question = TypeVar("Question")


@dataclass(frozen=True)
class Reply:
    """whole: False if it was cut off, so that the 10 of a cut-off 100 is no score. probability: see Verdict."""

    text: str
    whole: bool = True
    probability: float | None = None


def ask(
    say: Callable[[list[Question], list[int], float], Sequence[Reply]],
    questions: Sequence[Question],
    seeds: Sequence[int],
    settings: BaseJudge,
    rubric: Rubric,
) -> list[Verdict]:
    """The verdict on each question. A question whose reply is not a score is asked again, with another seed.

    say: (questions, their seeds, temperature) -> one reply each, in order. The probability is that of the first
    reply that has one.
    """
    if len(questions) != len(seeds):
        raise ValueError(f"{len(questions)} items to judge and {len(seeds)} seeds")
    verdicts: dict[int, Verdict] = {}
    waiting = list(range(len(questions)))
    for attempt in range(settings.attempts):
        if not waiting:
            break
        temperature = settings.temperature if attempt == 0 else settings.temperature or RETRY_TEMPERATURE
        drawn = [attempt_seed(seeds[row], attempt) for row in waiting]
        replies = say([questions[row] for row in waiting], drawn, temperature)
        for row, reply in zip(waiting, replies, strict=True):
            score = parse(reply.text, rubric) if reply.whole else None
            earlier = verdicts[row].probability if row in verdicts else None
            probability = reply.probability if earlier is None else earlier
            verdicts[row] = Verdict(score, probability, reply.text, attempt + 1)
        waiting = [row for row in waiting if verdicts[row].score is None]
    return [verdicts[row] for row in range(len(questions))]


def attempt_seed(seed: int, attempt: int) -> int:
    """The seed of an attempt, 31 bits: the item's own for the first, and one derived from it for the others."""
    if attempt == 0:
        return seed
    return int.from_bytes(hashlib.blake2b(f"{seed}:{attempt}".encode(), digest_size=4).digest()) >> 1
