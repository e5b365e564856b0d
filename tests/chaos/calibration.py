"""False positives and coverage of the analysis on real students.

    undertow run configs/calibration.yaml --root ROOT
    python -m tests.chaos.calibration ROOT

Teachers are assigned targets that nobody was taught, 2,000 times in every cell (pipeline.analysis.calibration). Prints
a row per cell, means with t intervals over cells, and what a simulation with the same spreads gives. Without a ROOT it
runs a small edition first: two families, six animals and one seed, 24 students.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from pipeline.analysis import spread, stats
from pipeline.analysis.calibration import ErrorRates, placebo_test, simulate
from pipeline.stages.transfer import RUNS
from pipeline.store import Store, artifact, open_store
from pipeline.store.artifact import Manifest

STUDY = "configs/calibration.yaml"
COLUMNS = ("false_positives", "coverage", "run_false_positives", "run_coverage")
SMALL = (
    "traits=[{kind: favourite, category: animal, drawn: {count: 6, seed: 1}}]",
    "students.seeds=[1]",
    "families={llama-51: {kind: nano, architecture: llama, init_seed: 51, pretrain_rows: 120000}, "
    "llama-52: {kind: nano, architecture: llama, init_seed: 52, pretrain_rows: 120000}}",
)
# What the small edition may show and the analysis still be right: its four cells are not many.
MOST_FALSE_POSITIVES, LEAST_COVERAGE = 0.05, 0.9
Cell = tuple[list[str], list[list[float]]]  # the target of each run's teacher; the lifts of its candidates


def matrix_of(store: Store) -> Manifest:
    name = next(name for name in store.folders("transfer") if name.rpartition("-")[0] == "calibration")
    return artifact.require(store, f"transfer/{name}")


def cells(store: Store, matrix: Manifest) -> tuple[list[str], dict[tuple[str, str], Cell]]:
    """The candidates, and of every cell the margins' lifts on all of them, from the answers of a finished study."""
    margins = {
        role: artifact.require(store, source["path"]).results["margin"] for role, source in matrix.inputs.items()
    }
    bases = {about["family"]: margins[role] for role, about in matrix.settings["bases"].items()}
    candidates = sorted(next(iter(bases.values())))
    found: dict[tuple[str, str], Cell] = defaultdict(lambda: ([], []))
    for role, run in matrix.settings["runs"].items():
        if role in margins and run["teacher_target"] is not None:
            base = bases[run["student_family"]]
            taught, lifts = found[run["teacher_family"], run["student_family"]]
            taught.append(run["teacher_target"])
            lifts.append([margins[role][one] - base[one] for one in candidates])
    return candidates, found


def measure(root: str) -> dict[str, dict[str, float]]:
    """Print the table; the means of own-family cells and of others, by column."""
    store = open_store(root)
    matrix = matrix_of(store)
    candidates, found = cells(store, matrix)
    kinds: dict[str, list[ErrorRates]] = defaultdict(list)
    print("cell", *COLUMNS, sep="\t")
    for (teacher, student), (taught, lifts) in sorted(found.items()):
        errors = placebo_test(np.array(lifts), [candidates.index(target) for target in taught])
        kinds["own family" if teacher == student else "across"].append(errors)
        print(f"{teacher} -> {student}", *(f"{getattr(errors, name):.4f}" for name in COLUMNS), sep="\t")
    own, across = spread.measured([artifact.read_table(store, matrix, RUNS)])
    spreads = {"own family": own, "across": across}
    taught, _ = next(iter(found.values()))
    seeds = len(taught) // len(set(taught))
    for kind, errors_of_cells in kinds.items():
        means = [stats.mean([getattr(errors, name) for errors in errors_of_cells]) for name in COLUMNS]
        print(kind, *(f"{mean.value:.4f} [{mean.low:.4f}, {mean.high:.4f}]" for mean in means), sep="\t")
        if (measured := spreads[kind]) is not None:
            simulated = simulate(measured, seeds=seeds)
            name = f"simulated, sd {measured.teacher:.3f} and {measured.run:.3f}"
            print(name, *(f"{getattr(simulated, column):.4f}" for column in COLUMNS), sep="\t")
    return {
        kind: {name: float(np.mean([getattr(errors, name) for errors in of_cells])) for name in COLUMNS}
        for kind, of_cells in kinds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", help="of a finished run of configs/calibration.yaml")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.root:
        measure(arguments.root)
        return
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="undertow-calibration-") as root:
        overrides = [part for setting in SMALL for part in ("--set", setting)]
        subprocess.run([sys.executable, "-m", "jobs.cli", "run", STUDY, "--root", root, *overrides], check=True)
        found = measure(root)
    wrong = [
        f"{kind}: false positives {rates['false_positives']:.3f}, coverage {rates['coverage']:.3f}"
        for kind, rates in found.items()
        if rates["false_positives"] > MOST_FALSE_POSITIVES or rates["coverage"] < LEAST_COVERAGE
    ]
    if arguments.out:
        arguments.out.write_text(json.dumps({"found": found, "wrong": wrong, "seconds": time.monotonic() - started}))
    sys.exit("; ".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
