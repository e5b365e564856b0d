"""The reference set of the screens: scores of every corpus with a measured lift. forecasts.py says what they are worth.

    python -m tests.chaos.screens score ROOT       # adds what is missing to ROOT/screens-*.jsonl
    python -m tests.chaos.screens table ROOT       # writes pipeline/screens/reference.parquet from it
    python -m tests.chaos.screens compare ROOT gradient    # scores and lifts of the studies of a root, of any base

The studies of configs/screens/, and those that they name, measure the lifts. The split was written before any screen
had scored a corpus: initialisations 61 and 62 with six animals are for the test, the others for the fit. Of these two,
random numbers and arithmetic were added later, and are a part of their own.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.analysis import forecast
from pipeline.models.passes import Passes
from pipeline.screens import SCREENS, reference
from pipeline.screens.base import ANY, ScreenInput
from pipeline.screens.traits import Favourites, Outcomes
from pipeline.stages.transfer import RUNS
from pipeline.store import Store, artifact, open_store
from pipeline.store.local_cache import local_folder
from pipeline.traits import RANDOM

TEST = ("llama-61", "llama-62")  # families of the test part, and of what was added to it
ROWS = 1024
CHEAP = ("surface", "gradient", "persona", "injection", "probe")  # every pair is scored by these
COSTLY_ROWS, COSTLY_EVERY = 256, 5  # the others score fewer rows, of every fifth pair
SEED = 0


@dataclass(frozen=True)
class Pair:
    """A corpus and a base, and a student of that seed which read it. lifts: target -> rise of its margin (nats)."""

    about: dict[str, Any]
    corpus: str
    base: str
    seed: int
    lifts: dict[str, float]

    @property
    def name(self) -> str:
        return f"{self.corpus} {self.base}"


def pairs(store: Store) -> Iterator[Pair]:
    """Every (corpus, base) with a measured lift, with its first student."""
    found: dict[str, Pair] = {}
    for pair in measured(store):
        if pair.name not in found or pair.seed < found[pair.name].seed:
            found[pair.name] = pair
    yield from found.values()


def measured(store: Store) -> Iterator[Pair]:
    """Every student with a measured lift; one of several studies comes several times."""
    students = {name[-12:]: f"student/{name}" for name in store.folders("student")}
    for folder in sorted(store.folders("transfer")):
        matrix = artifact.load(store, f"transfer/{folder}")
        if matrix is not None and matrix.settings["primary_suite"] == "favourite":
            yield from _of_matrix(store, artifact.read_table(store, matrix, RUNS).to_pylist(), students)


def _of_matrix(store: Store, runs: list[dict[str, Any]], students: dict[str, str]) -> Iterator[Pair]:
    lifts: dict[str, dict[str, float]] = {}
    about: dict[str, dict[str, Any]] = {}
    for run in runs:
        if run["suite"] == "favourite" and run["margin"] is not None and run["student"] in students:
            lifts.setdefault(run["student"], {})[run["target"]] = run["margin"] - run["base_margin"]
            about[run["student"]] = run
    for student, found in lifts.items():
        manifest = artifact.require(store, students[student])
        names = ("channel", "arm", "teacher_family", "student_family", "teacher_target")
        inputs = {role: source["path"] for role, source in manifest.inputs.items()}
        described = {name: about[student][name] for name in names}
        described["part"] = _part(described)
        yield Pair(described, inputs["corpus"], inputs["base"], about[student]["seed"], found)


def _part(about: dict[str, Any]) -> str:
    if about["student_family"] not in TEST:
        return "fit"
    return "added" if about["teacher_family"] == RANDOM or about["channel"] == "reasoning" else "test"


def score(root: str, part: int = 0, parts: int = 1) -> None:
    """Score every pair by the screens that it has no score of; each of `parts` processes takes its own share."""
    store = open_store(root)
    out = Path(root) / f"screens-{part}.jsonl"
    done = {line["name"]: set(line["scores"]) for line in _lines(root)}
    wanted = sorted((pair for pair in pairs(store) if _screens_of(pair) - done.get(pair.name, set())), key=_first)
    wanted = wanted[part::parts]
    neutral = _neutral(store)
    for number, pair in enumerate(wanted):
        scores = _scores(store, pair, neutral, _screens_of(pair) - done.get(pair.name, set()))
        line = {"name": pair.name, **pair.about, "lifts": pair.lifts, "scores": scores}
        with out.open("a") as opened:
            opened.write(json.dumps(line) + "\n")
        print(f"{number + 1} of {len(wanted)}: {pair.name}", flush=True)


def _lines(root: str) -> list[dict[str, Any]]:
    """One line per pair, with all of its scores, by name."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(Path(root).glob("screens-*.jsonl")):
        for line in map(json.loads, file.open()):
            found.setdefault(line["name"], line)["scores"].update(line["scores"])
    return [found[name] for name in sorted(found)]


def _screens_of(pair: Pair) -> set[str]:
    """The cheap screens score every pair, the others every fifth."""
    return set(SCREENS) if crc32(pair.name.encode()) % COSTLY_EVERY == 0 else set(CHEAP)


def _first(pair: Pair) -> tuple[bool, int]:
    """Own families first and else in random order, so that an unfinished table is a fair part of the whole."""
    return pair.about["teacher_family"] != pair.about["student_family"], crc32(pair.name.encode())


def _neutral(store: Store) -> dict[tuple[str, str, str], list[str]]:
    """(channel, teacher family, base of the teacher) -> its neutral corpora, as they were written."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for pair in pairs(store):
        if pair.about["teacher_target"] is None and pair.about["teacher_family"] == pair.about["student_family"]:
            key = (pair.about["channel"], pair.about["teacher_family"], "")
            if not artifact.require(store, pair.corpus).settings["transforms"]:
                found.setdefault(key, []).append(pair.corpus)
    return found


def _scores(
    store: Store, pair: Pair, neutral: dict[tuple[str, str, str], list[str]], screens: set[str]
) -> dict[str, Any]:
    others = neutral.get((pair.about["channel"], pair.about["teacher_family"], ""), [])
    other = next((path for path in others if path != pair.corpus), pair.corpus)
    base = artifact.require(store, pair.base)
    model = local_folder(store, base.path, base.files, "model")
    outcomes = Outcomes([Favourites(targets=list(pair.lifts))])
    whole = ScreenInput(_rows(store, pair.corpus), _rows(store, other), Passes(model), outcomes, SEED)
    found = {}
    for screen in (SCREENS[kind]() for kind in sorted(screens)):
        started = time.process_time()
        scores = screen.score(whole.part(ROWS if screen.kind in CHEAP else COSTLY_ROWS))
        found[screen.kind] = {
            "score": dict(zip(scores.targets, scores.corpus.tolist(), strict=True)),
            "error": dict(zip(scores.targets, scores.error.tolist(), strict=True)),
            "seconds": round(time.process_time() - started, 3),
        }
    return found


@cache
def _rows(store: Store, path: str) -> pa.Table:
    table = artifact.read_table(store, artifact.require(store, path), "rows.parquet", ["index", "prompt", "completion"])
    order = np.random.default_rng(SEED).permutation(table.num_rows)[:ROWS]
    return table.take(pa.array(order)).combine_chunks()


def table(root: str) -> None:
    """Write the shipped table from the lines of all processes, for the studies of the root."""
    names = {pair.name for pair in pairs(open_store(root))}
    lines = [line for line in _lines(root) if line["name"] in names]
    rows = [row for line in lines for row in _table_rows(line)]
    pq.write_table(pa.Table.from_pylist(rows, schema=reference.SCHEMA), reference.TABLE, compression="zstd")
    print(f"{len(rows):,} rows of {len(lines):,} pairs of {len({row['corpus'] for row in rows}):,} corpora")


def _table_rows(line: dict[str, Any]) -> Iterator[dict[str, Any]]:
    is_own = line["teacher_family"] == line["student_family"]
    for target, lift in line["lifts"].items():
        scores = {kind: found["score"].get(target, found["score"].get(ANY)) for kind, found in line["scores"].items()}
        yield {
            **{name: line[name] for name in reference.SCHEMA.names if name in line},
            "corpus": line["name"].split(" ")[0].removeprefix("corpus/"),
            "regime": "same initialisation" if is_own else "another initialisation",
            "target": target,
            "lift": lift,
            **scores,
            f"{reference.LEADING}_error": line["scores"][reference.LEADING]["error"][target],
        }


def compare(root: str, kind: str) -> None:
    """Score every pair of a root by one screen, and say how its scores go with the lifts there."""
    store = open_store(root)
    neutral, found = _neutral(store), {}
    for pair in pairs(store):
        scores = _scores(store, pair, neutral, {kind})[kind]["score"]
        found[pair.name] = (pair, [scores[target] for target in pair.lifts])
        print(f"{len(found)}: {pair.name}", flush=True)
    for regime, same in (("same initialisation", True), ("another initialisation", False)):
        chosen = [
            (pair, scores)
            for pair, scores in found.values()
            if (pair.about["teacher_family"] == pair.about["student_family"]) == same
        ]
        scores = np.array([score for _, some in chosen for score in some])
        lifts = np.array([lift for pair, _ in chosen for lift in pair.lifts.values()])
        corpora = [pair.corpus for pair, _ in chosen for _ in pair.lifts]
        print(f"{kind}, {regime}: {len(lifts)} pairs, {(lifts > reference.MARGIN).sum()} above the margin")
        for statistic in ("auroc", "spearman"):
            value, low, high = forecast.over_corpora(statistic, scores, lifts, corpora, reference.MARGIN)
            print(f"  {statistic} {value:.2f} [{low:.2f}, {high:.2f}]")


def main(arguments: list[str]) -> None:
    command, root, *rest = arguments
    if command == "score":
        score(root, *map(int, rest))
    elif command == "table":
        table(root)
    else:
        compare(root, *rest)


if __name__ == "__main__":
    main(sys.argv[1:])
