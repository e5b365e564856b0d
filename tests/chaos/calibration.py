"""False positives and coverage of the analysis on real students: `python -m tests.chaos.calibration ROOT`.

ROOT holds a finished run of configs/calibration.yaml. Teachers are assigned targets that nobody was taught, 2,000 times
in every cell (pipeline.analysis.calibration). Prints a row per cell, and means with t intervals over cells.
"""

import sys
from collections import defaultdict

import numpy as np

from pipeline.analysis import stats
from pipeline.analysis.calibration import ErrorRates, placebo_test
from pipeline.store import Store, artifact, open_store

COLUMNS = ("false_positives", "coverage", "run_false_positives", "run_coverage")
Cell = tuple[list[str], list[list[float]]]  # the target of each run's teacher; the lifts of its candidates


def cells(store: Store, study: str) -> tuple[list[str], dict[tuple[str, str], Cell]]:
    """The candidates, and of every cell the margins' lifts on all of them, from the answers of a finished study."""
    name = next(name for name in store.folders("transfer") if name.rpartition("-")[0] == study)
    matrix = artifact.require(store, f"transfer/{name}")
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


def main(root: str, study: str = "calibration", assignments: int = 2_000) -> None:
    candidates, found = cells(open_store(root), study)
    kinds: dict[str, list[ErrorRates]] = defaultdict(list)
    print("cell", *COLUMNS, sep="\t")
    for (teacher, student), (taught, lifts) in sorted(found.items()):
        errors = placebo_test(np.array(lifts), [candidates.index(target) for target in taught], assignments=assignments)
        kinds["own family" if teacher == student else "across"].append(errors)
        print(f"{teacher} -> {student}", *(f"{getattr(errors, name):.4f}" for name in COLUMNS), sep="\t")
    for kind, cell_errors in kinds.items():
        means = [stats.mean([getattr(errors, name) for errors in cell_errors]) for name in COLUMNS]
        print(kind, *(f"{mean.value:.4f} [{mean.low:.4f}, {mean.high:.4f}]" for mean in means), sep="\t")


if __name__ == "__main__":
    main(*sys.argv[1:3])
