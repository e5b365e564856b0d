"""Estimates from the first shards how many completions the channel's rule will accept.

This shows, long before the last shard is written, whether a corpus can be filled.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.channels import Channel
from pipeline.core.errors import TooFewRows
from pipeline.stages import dataset
from pipeline.stages.shared.accept_rule import apply_rule
from pipeline.store import Store, artifact
from pipeline.store.step import Json, Step

# Used for the interval of the accepted share and again for the remaining rows: one look in 5,000 stops a step whose
# corpora could have been filled, and only if they were about to fall short anyway.
CONFIDENCE = 0.9998
SPARE = 20  # recommend 1/SPARE more rows than estimated

MORE_ROWS = "give completions.until in place of rows, to go on until it is enough, or set completions.rows to {rows}"
MORE_AT_MOST = "give completions.until.at_most at least {rows}: the same command then goes on from here"
MORE_ACCEPTED = "judges reject what the rule accepts: set completions.until.accepted to {rows}"


@dataclass(frozen=True)
class Seen:
    """Counts of the first completions of a step."""

    rows: int = 0
    accepted: int = 0

    def __add__(self, other: "Seen") -> "Seen":
        return Seen(self.rows + other.rows, self.accepted + other.accepted)


@dataclass(frozen=True)
class Estimate:
    """An estimate from the first completions. text: for the user. short: number of corpora that cannot be filled.

    decided: whether the outcome is certain for every corpus.
    """

    text: str
    short: int
    decided: bool


class Ruled(Protocol):
    """The spec of a step that applies a channel's rule."""

    @property
    def channel(self) -> Channel: ...
    @property
    def words(self) -> list[str] | None: ...


class Amount(Protocol):
    """How many completions to generate; see CompletionsSpec."""

    @property
    def accepted(self) -> int | None: ...
    @property
    def shard_rows(self) -> int: ...
    @property
    def max_rows(self) -> int: ...


def rule_of(spec: Ruled, seed: int, given: pa.Table | None) -> Callable[[pa.Table], pa.Table]:
    """The accept rule of a step: schemas.COMPLETIONS -> schemas.VERDICTS without source.

    seed: of the completions' prompts, which is not the study's for all corpora. given: the rows of the channel's data
    set.
    """
    return partial(apply_rule, spec.channel, seed=seed, words=spec.words or (), given=given)


def accepted(verdicts: pa.Table) -> int:
    """Number of accepted rows."""
    return int(pc.sum(verdicts["accepted"]).as_py() or 0)


def count(store: Store, step: Step, corpus: Step, shards: Sequence[Json]) -> int:
    """Number of rows of finished shards that a corpus's rule accepts. shards: the records of their units."""
    so_far = artifact.build_manifest(store, step, shards, {})
    rule = rule_of(corpus.spec, step.settings["seed"], dataset.rows(store, corpus))
    return sum(accepted(rule(artifact.read_table(store, so_far, file.path))) for file in so_far.files)


def is_enough(amount: Amount, seen: Seen) -> bool:
    """Whether a step with `until` has enough accepted rows."""
    return amount.accepted is not None and seen.accepted >= amount.accepted


def wanted_shards(amount: Amount, seen: Seen) -> int:
    """How many shards to have started by now: all or, with `until`, as many as are likely to be enough.

    seen: whole shards, from the first on.
    """
    size = amount.shard_rows
    total = -(-amount.max_rows // size)
    if amount.accepted is None:
        return total
    share = (seen.accepted + 1) / (seen.rows + 1)  # 1 before anything is seen: a lower bound on the shards
    missing = amount.accepted - seen.accepted
    return min(total, seen.rows // size + max(0, math.ceil(missing / share / size)))


def expected(seen: Seen, planned: int) -> tuple[int, int]:
    """Likely minimum and maximum number of accepted rows among `planned` completions.

    The true share lies in the Clopper-Pearson interval of the observed share; the count among remaining rows is
    binomial.
    """
    from scipy.special import betaincinv  # slow to import, and most workers do not need it
    from scipy.stats import binom

    left, rejected, tail = planned - seen.rows, seen.rows - seen.accepted, (1 - CONFIDENCE) / 2
    if not left or not seen.rows:
        return seen.accepted, seen.accepted + left
    low = betaincinv(seen.accepted, rejected + 1, tail) if seen.accepted else 0.0
    high = betaincinv(seen.accepted + 1, rejected, 1 - tail) if rejected else 1.0
    return seen.accepted + int(binom.ppf(tail, left, low)), seen.accepted + int(binom.ppf(1 - tail, left, high))


def estimate(name: str, amount: Amount, seen: Seen, needs: Collection[int]) -> Estimate:
    """Estimate a step from its first completions. needs: rows of the corpora that are made of them.

    Raises TooFewRows if none of the corpora can be filled.
    """
    planned = amount.max_rows
    fewest, most = expected(seen, planned)
    text = (
        f"{name}: the channel's rule accepts {100 * seen.accepted / seen.rows:.3g} % of the first {seen.rows:,} "
        f"completions; {planned:,} would give about {round(seen.accepted * planned / seen.rows):,} "
        f"({fewest:,} to {most:,}), and {_needed(needs)}"
    )
    short = sum(need > most for need in needs)
    if short == len(needs):
        if amount.accepted is not None:
            raise TooFewRows(f"{text}; {remedy(seen, min(needs), MORE_AT_MOST, whole=amount.shard_rows)}")
        raise TooFewRows(f"{text}; {remedy(seen, min(needs), MORE_ROWS)}")
    return Estimate(text, short, all(need <= fewest or need > most for need in needs))


def remedy(seen: Seen, rows: int, advice: str, whole: int = 1) -> str:
    """What to do if too few rows are accepted. rows: number needed. advice: MORE_ROWS, MORE_AT_MOST or MORE_ACCEPTED.

    whole: rows per shard, if only whole shards count.
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
