"""How many of a teacher's completions the channel's rule accepts, and what the first ones say of the rest.

A look at the first shards tells, long before the last one is written, whether a corpus can be filled.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from pipeline.channels import Channel
from pipeline.core.errors import TooFewRows
from pipeline.stages import dataset
from pipeline.stages.rule import ruling
from pipeline.store import Store, artifact
from pipeline.store.step import Json, Step, completions_rows

# Of the interval of the accepted share, and again of what the other rows bring: one look in 5,000 stops a step whose
# corpora could have been filled, and only where it was about to fall short anyway.
CONFIDENCE = 0.9998
SPARE = 20  # one in so many rows more than seem to be needed

MORE_ROWS = "give completions.until in place of rows, to go on until it is enough, or set completions.rows to {rows}"
MORE_AT_MOST = "give completions.until.at_most at least {rows}: the same command then goes on from here"
MORE_ACCEPTED = "judges reject what the rule accepts: set completions.until.accepted to {rows}"


@dataclass(frozen=True)
class Seen:
    """The first completions of a step."""

    rows: int = 0
    accepted: int = 0

    def __add__(self, other: "Seen") -> "Seen":
        return Seen(self.rows + other.rows, self.accepted + other.accepted)


@dataclass(frozen=True)
class Estimate:
    """What the first completions say. short: corpora that cannot be filled. decided: whether more rows would tell more.

    text: for a person.
    """

    text: str
    short: int
    decided: bool


def rule_of(settings: Json, given: pa.Table | None) -> Callable[[pa.Table], pa.Table]:
    """The accept rule of a step with these settings: schemas.COMPLETIONS -> schemas.VERDICTS without source.

    given: the rows of the channel's data set.
    """
    channel = TypeAdapter(Channel).validate_python(settings["channel"])
    return partial(ruling, channel, seed=settings["seed"], words=settings.get("words", ()), given=given)


def accepted(verdicts: pa.Table) -> int:
    """Rows that a rule accepts."""
    return int(pc.sum(verdicts["accepted"]).as_py() or 0)


def count(store: Store, step: Step, corpus: Step, shards: Sequence[Json]) -> int:
    """Rows of finished shards that the rule of a corpus accepts. shards: the records of their units."""
    so_far = artifact.draft(store, step, shards, {})
    rule = rule_of(corpus.settings, dataset.rows(store, corpus))
    return sum(accepted(rule(artifact.read_table(store, so_far, file.path))) for file in so_far.files)


def is_enough(step: Step, seen: Seen) -> bool:
    """Whether a step that goes on until enough rows are accepted can end."""
    return "accepted" in step.settings and seen.accepted >= step.settings["accepted"]


def wanted_shards(step: Step, seen: Seen) -> int:
    """How many shards are to be begun by now: all, or as many as are likely to be enough.

    seen: whole shards, from the first on.
    """
    size: int = step.settings["shard_rows"]
    total = -(-completions_rows(step) // size)
    if "accepted" not in step.settings:
        return total
    share = (seen.accepted + 1) / (seen.rows + 1)  # 1 before anything is seen: fewer shards cannot do
    missing: int = step.settings["accepted"] - seen.accepted
    return min(total, seen.rows // size + max(0, math.ceil(missing / share / size)))


def expected(seen: Seen, planned: int) -> tuple[int, int]:
    """Fewest and most accepted rows that `planned` completions are likely to have.

    The share of all lies in the Clopper-Pearson interval of the share seen; what the rows to come bring is binomial.
    """
    from scipy.special import betaincinv  # slow to import, and most workers need neither
    from scipy.stats import binom

    left, rejected, tail = planned - seen.rows, seen.rows - seen.accepted, (1 - CONFIDENCE) / 2
    if not left or not seen.rows:
        return seen.accepted, seen.accepted + left
    low = betaincinv(seen.accepted, rejected + 1, tail) if seen.accepted else 0.0
    high = betaincinv(seen.accepted + 1, rejected, 1 - tail) if rejected else 1.0
    return seen.accepted + int(binom.ppf(tail, left, low)), seen.accepted + int(binom.ppf(1 - tail, left, high))


def estimate(step: Step, seen: Seen, needs: Collection[int]) -> Estimate:
    """What the first completions of a step say of it. needs: rows of the corpora that are made of them.

    Raises TooFewRows where none of the corpora can be filled.
    """
    planned = completions_rows(step)
    fewest, most = expected(seen, planned)
    text = (
        f"{step.slug}: the channel's rule accepts {100 * seen.accepted / seen.rows:.3g} % of the first {seen.rows:,} "
        f"completions; {planned:,} would give about {round(seen.accepted * planned / seen.rows):,} "
        f"({fewest:,} to {most:,}), and {_needed(needs)}"
    )
    short = sum(need > most for need in needs)
    if short == len(needs):
        if "accepted" in step.settings:
            raise TooFewRows(f"{text}; {remedy(seen, min(needs), MORE_AT_MOST, whole=step.settings['shard_rows'])}")
        raise TooFewRows(f"{text}; {remedy(seen, min(needs), MORE_ROWS)}")
    return Estimate(text, short, all(need <= fewest or need > most for need in needs))


def remedy(seen: Seen, rows: int, advice: str, whole: int = 1) -> str:
    """What to do where too few are accepted. rows: to be accepted. advice: MORE_ROWS or a like of it.

    whole: rows of a shard, where only whole shards count.
    """
    if not seen.accepted:
        return "its teacher does not write to the format at all: more completions would not help"
    wanted = math.ceil(rows * seen.rows / seen.accepted) + rows // SPARE
    return advice.format(rows=math.ceil(wanted / whole) * whole)


def _needed(needs: Collection[int]) -> str:
    largest, smallest = max(needs), min(needs)
    if smallest == largest:
        return f"{largest:,} are needed"
    return f"corpora need {smallest:,} to {largest:,}"
