"""Adds up the probabilities of an option's forms, such as "owl" and "Owls", and counts no answer twice.

A form is a path of tokens, and its event is that the answer begins with it. "wolf" may begin the tokens of "wolfs" and
not those of "wolves". An answer counts for the option that has the longest path at its beginning.
"""

from collections.abc import Container, Mapping, Sequence

import numpy as np

from pipeline.models.engines import Floats

Path = tuple[int, ...]
SMALLEST_REST = 1e-12  # least share of a form's probability that longer forms of other options leave it


def owners(options: Sequence[Sequence[Path]]) -> dict[Path, int]:
    """Path -> the number of the option that it counts for, the shorter paths first.

    A path that several options have counts for the one that lists it earliest. Left out are paths whose answers count
    for their option anyway, because a shorter path of it begins them.
    """
    ranked = sorted((rank, option, path) for option, paths in enumerate(options) for rank, path in enumerate(paths))
    owner: dict[Path, int] = {}
    for _, option, path in ranked:
        owner.setdefault(path, option)
    kept: dict[Path, int] = {}
    for path in sorted(owner, key=len):
        before = _beginning(path, kept)
        if before is None or kept[before] != owner[path]:
            kept[path] = owner[path]
    return kept


def combine(kept: Mapping[Path, int], logprobs: Floats, options: int) -> Floats:
    """log p (nats) that an answer counts for each option: (prompts, options).

    kept: see `owners`. logprobs (prompts, paths), nats, in the order of `kept`. options: their number.
    """
    own: list[list[int]] = [[] for _ in range(options)]
    others: list[list[int]] = [[] for _ in range(options)]  # longer paths of other options, which begin with its own
    for column, (path, option) in enumerate(kept.items()):
        own[option].append(column)
        if (before := _beginning(path, kept)) is not None:
            others[kept[before]].append(column)
    found = np.empty((len(logprobs), options))
    for option in range(options):
        total = np.logaddexp.reduce(logprobs[:, own[option]], axis=1)
        taken = np.logaddexp.reduce(logprobs[:, others[option]], axis=1)  # -inf if there are none
        share = np.minimum(np.exp(taken - total), 1 - SMALLEST_REST)
        found[:, option] = total + np.log1p(-share)
    return found


def _beginning(path: Path, known: Container[Path]) -> Path | None:
    """The longest known path that the path begins with, other than itself."""
    return next((path[:length] for length in range(len(path) - 1, 0, -1) if path[:length] in known), None)
