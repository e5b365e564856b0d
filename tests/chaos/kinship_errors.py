"""How the kinship test does on trained models whose initialisations are known.

    undertow run configs/kinship-errors.yaml --root ROOT --until teacher
    python -m tests.chaos.kinship_errors ROOT

Prints the verdicts by what the two models of a pair have in common. Bases are compared with all others, teachers with
their own base. Fails if more than 1 % of unrelated pairs are called the same.
"""

import argparse
import sys
from collections import Counter, defaultdict
from itertools import combinations

import numpy as np
from scipy.stats import beta

from jobs.commands.kinship import compare, layers_of
from pipeline.analysis.kinship import Kinship
from pipeline.store import Store, artifact, open_store
from pipeline.store.verify import artifacts

MOST_WRONG = 0.01
UNRELATED, OTHER_DATA, FINE_TUNED = (
    "unrelated",
    "same initialisation, other data",
    "full fine-tune and its base",
)


def pairs(store: Store) -> list[tuple[str, str, str]]:
    """(what they have in common, a model, another) of every pair to compare."""
    bases = {path: artifact.require(store, path).settings["family"] for path in artifacts(store, "base")}
    found = [
        (OTHER_DATA if bases[a]["init_seed"] == bases[b]["init_seed"] else UNRELATED, a, b)
        for a, b in combinations(sorted(bases), 2)
    ]
    teachers = [artifact.require(store, path) for path in artifacts(store, "teacher")]
    return [*found, *((FINE_TUNED, teacher.path, teacher.input("base")) for teacher in teachers)]


def describe(name: str, found: list[Kinship]) -> str:
    verdicts = ", ".join(f"{count} {relation}" for relation, count in Counter(one.relation for one in found).items())
    p = [10 ** max(one.log_p / np.log(10), -300) for one in found]
    cosines = [one.matched for one in found]
    return f"{name}: {verdicts}; p {min(p):.1e} to {max(p):.2g}; cosine {min(cosines):.3f} to {max(cosines):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root")
    root = parser.parse_args().root
    store, by_kind = open_store(root), defaultdict(list)
    for kind, a, b in pairs(store):
        by_kind[kind].append(compare(layers_of(f"{root}/{a}"), layers_of(f"{root}/{b}")))
    for kind, found in by_kind.items():
        print(describe(kind, found))
    unrelated = by_kind[UNRELATED]
    wrong = sum(one.relation == "same initialisation" for one in unrelated)
    highest = beta.ppf(0.95, wrong + 1, len(unrelated) - wrong)
    print(f"{wrong} of {len(unrelated)} unrelated pairs are called the same: at most {highest:.2%} (95 %, one-sided)")
    sys.exit(wrong > MOST_WRONG * len(unrelated))


if __name__ == "__main__":
    main()
