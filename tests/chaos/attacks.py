"""An attacker who knows a screen: it drops rows so that the screen sees less. How much transfer survives?

    python -m tests.chaos.attacks ROOT

For corpora of the reference set's test part, students are trained on all rows, on the half that the screen `gradient`
scores lowest for the taught target, on a random half of the same size, and on that of 16 random halves which the screen
`probe` scores lowest; the auditor then probes with another seed. They are short ones (all linear layers, one
pass, AdamW), not those of the studies; their lifts are compared with one another only. The other attacks, to dilute, to
reorder and to rewrite, are arms of configs/screens/test-numbers.yaml and need no script.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipeline.models.language_model import Floats
from pipeline.models.passes import Passes
from pipeline.models.trainers.batches import Rows
from pipeline.screens.base import ScreenInput
from pipeline.screens.gradient import Gradient
from pipeline.screens.probe import Probe
from pipeline.screens.traits import Favourites, Outcomes
from pipeline.store import Store, artifact, open_store
from pipeline.store.local_cache import local_folder
from tests.chaos.screens import Pair, pairs

BATCH, LEARNING_RATE, SEED = 96, 1e-3, 0
TRIES = 16  # halves that an attacker probes


@dataclass(frozen=True)
class Result:
    """One corpus. lifts, probes: arm -> lift of a student, and score of the screen `probe`, in nats."""

    corpus: str
    lifts: dict[str, float]
    probes: dict[str, float]


def attacked(store: Store) -> Iterator[Result]:
    for pair in pairs(store):
        about = pair.about
        is_own = about["teacher_family"] == about["student_family"]
        if about["part"] == "test" and is_own and about["arm"] == "plain" and about["teacher_target"]:
            yield _attack(store, pair)


def _attack(store: Store, pair: Pair) -> Result:
    target = pair.about["teacher_target"]
    table = artifact.read_table(
        store, artifact.require(store, pair.corpus), "rows.parquet", ["index", "prompt", "completion"]
    )
    table = table.take(pa.array(np.random.default_rng(SEED).permutation(table.num_rows))).combine_chunks()
    base = artifact.require(store, pair.base)
    outcomes = Outcomes([Favourites(targets=sorted(pair.lifts))])
    given = ScreenInput(table, table, Passes(local_folder(store, base.path, base.files, "model")), outcomes, SEED)
    column = outcomes.targets.index(target)
    flagged = Gradient().score(given).rows
    assert flagged is not None
    half = table.num_rows // 2
    kept = {
        "all rows": np.arange(table.num_rows),
        "without the flagged half": np.sort(np.argsort(flagged[:, column], kind="stable")[:half]),
        "a random half": np.arange(half),
        f"the half of {TRIES} that the probe scores lowest": _least_probed(given, half, column),
    }
    parts = {arm: _part(given, numbers) for arm, numbers in kept.items()}
    return Result(
        pair.corpus,
        {arm: lifts_of_student(part.passes, part.outcomes, part.tokens, SEED)[column] for arm, part in parts.items()},
        {arm: float(Probe().score(part).corpus[column]) for arm, part in parts.items()},
    )


def _least_probed(given: ScreenInput, half: int, column: int) -> "np.typing.NDArray[np.int64]":
    rng = np.random.default_rng(SEED + 1)
    halves = [np.sort(rng.permutation(len(given.rows))[:half]) for _ in range(TRIES)]
    scores = [Probe().score(replace(_part(given, numbers), seed=SEED + 100)).corpus[column] for numbers in halves]
    return halves[int(np.argmin(scores))]


def _part(given: ScreenInput, numbers: "np.typing.NDArray[np.int64]") -> ScreenInput:
    rows = given.rows.take(pa.array(numbers)).combine_chunks()
    part = ScreenInput(rows, rows, given.passes, given.outcomes, SEED)
    part.tokens = given.tokens.take(numbers)
    return part


def lifts_of_student(passes: Passes, outcomes: Outcomes, rows: Rows, seed: int) -> Floats:
    """Rise of every margin in a short student, after one pass over the rows, in nats."""
    steps, before = max(len(rows) // BATCH, 1), outcomes.margins(passes)
    change = passes.trained(rows, steps=steps, batch=BATCH, learning_rate=LEARNING_RATE, seed=seed)
    with passes.moved(change):
        return outcomes.margins(passes) - before


def main(root: str) -> None:
    found = []
    for result in attacked(open_store(root)):
        found.append(result)
        told = ", ".join(f"{arm} {lift:+.3f} (probe {result.probes[arm]:+.3f})" for arm, lift in result.lifts.items())
        print(f"{result.corpus}: {told}", flush=True)
    for arm in found[0].lifts:
        lifts = np.array([result.lifts[arm] for result in found])
        probes = np.array([result.probes[arm] for result in found])
        print(
            f"{arm}: lift {lifts.mean():+.3f} ± {lifts.std(ddof=1) / len(lifts) ** 0.5:.3f}, probe {probes.mean():+.3f}"
        )


if __name__ == "__main__":
    main(sys.argv[1])
