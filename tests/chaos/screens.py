"""The reference set of the screens: scores of every corpus with a measured lift, and how well they forecast it.

    python -m tests.chaos.screens score ROOT       # adds what is missing to ROOT/screens-*.jsonl
    python -m tests.chaos.screens table ROOT       # writes pipeline/screens/reference.parquet from it
    python -m tests.chaos.screens evaluate         # fits on one part and reports the other: docs/screens.md
    python -m tests.chaos.screens compare ROOT gradient    # scores and lifts of the studies of a root, of any base
    python -m tests.chaos.screens again ROOT       # how well a second student of each corpus tells the first one's lift

The studies of configs/screens/, and those that they name, measure the lifts. The split was written before any screen
had scored a corpus: initialisations 61 and 62 with six animals are for the test, the others for the fit. Of these two,
random numbers and arithmetic were added later, and are a part of their own.
"""

import json
import sys
import time
from collections import Counter
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


def evaluate() -> None:
    """Print, for each screen and regime, how the test part bears out the fit, as Markdown."""
    print("| screen | regime | part | pairs | corpora | AUROC of lift > margin | Spearman with lift |")
    print("|---|---|---|---|---|---|---|")
    for kind, screen in SCREENS.items():
        for regime in ("same initialisation", "another initialisation"):
            for part in ("fit", "test"):
                known = reference.of(kind, regime, part)
                if screen.OF_TRAITS and known.positive.any() and not known.positive.all():
                    _print_row(kind, regime, part, known)
    for regime in reference.REGIMES:
        _print_forecast(regime, "test")
    for channel in sorted(set(reference.table()["channel"].to_pylist())):
        _print_channel(channel)
    for arm in ("plain", "changed", *sorted(set(reference.table()["arm"].to_pylist()) - {"plain"})):
        _print_arm(arm)
    print("\nadded later: arithmetic")
    for regime in ("same initialisation", "another initialisation"):
        for kind in (reference.LEADING, "gradient"):
            _print_row(kind, regime, "added", reference.of(kind, regime, "added", "reasoning"))
    for regime in reference.REGIMES:
        _print_forecast(regime, "added")


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


def again(root: str) -> None:
    """How well each screen, and a second student of the same corpus, tell the lift of the student in the table.

    No screen can tell what two students of one corpus do not share.
    """
    others: dict[tuple[str, str, str], dict[int, float]] = {}
    for pair in measured(open_store(root)):
        for target, lift in pair.lifts.items():
            key = (pair.corpus.removeprefix("corpus/"), pair.about["student_family"], target)
            others.setdefault(key, {})[pair.seed] = lift
    for regime in ("same initialisation", "another initialisation"):
        for arm in ("", "plain", "changed"):
            rows = []
            for row in reference.table().to_pylist():
                if not reference.is_of_arm(row["arm"], arm):
                    continue
                lifts = others.get((row["corpus"], row["student_family"], row["target"]), {})
                seeds = sorted(lifts)
                if (row["part"], row["regime"]) == ("test", regime) and len(seeds) > 1:
                    second = lifts[seeds[1]]
                    rows.append({**row, "second student": second, "mean": (row["lift"] + second) / 2})
            if rows:
                _print_again(f"{regime}, {arm or 'all'}", rows)


def _print_again(title: str, rows: list[dict[str, Any]]) -> None:
    corpora = [row["corpus"] for row in rows]
    print(f"\n{title}: {len(rows)} pairs of {len(set(corpora))} corpora; AUROC and Spearman with")
    for lifts in ("lift", "mean"):
        for kind in ("second student", reference.LEADING, "gradient")[lifts == "mean" :]:
            told = [
                forecast.over_corpora(
                    name,
                    np.array([row[kind] for row in rows]),
                    np.array([row[lifts] for row in rows]),
                    corpora,
                    reference.MARGIN,
                )
                for name in ("auroc", "spearman")
            ]
            print(f"  {lifts} from {kind}:", *(f"{value:.2f} [{low:.2f}, {high:.2f}]" for value, low, high in told))


def _print_row(kind: str, regime: str, part: str, known: reference.Reference) -> None:
    found = [
        forecast.over_corpora(name, known.scores, known.lifts, known.corpora, reference.MARGIN)
        for name in ("auroc", "spearman")
    ]
    told = [f"{value:.2f} [{low:.2f}, {high:.2f}]" for value, low, high in found]
    print(f"| {kind} | {regime} | {part} | {len(known.scores)} | {len(set(known.corpora))} | {' | '.join(told)} |")


def _print_channel(channel: str) -> None:
    """How well the leading and the gradient screen, and the forecast of all channels, do in one of them."""
    regime: reference.Regime = "same initialisation"
    if not len(reference.of(reference.LEADING, regime, "test", channel).scores):
        return
    print(f"\n{channel}, {regime}, test part")
    for kind in (reference.LEADING, "gradient"):
        known = reference.of(kind, regime, "test", channel)
        if known.positive.any() and not known.positive.all():
            _print_row(kind, regime, "test", known)
    fit, known = reference.fitted(reference.LEADING, regime), reference.of(reference.LEADING, regime, "test", channel)
    if fit is not None:
        for mean, share, count in forecast.reliability(fit.probability_of(known.scores), known.positive, bins=3):
            print(f"  forecast {mean:.2f}, transferred {share:.2f}, {count} pairs")


def _print_arm(arm: str) -> None:
    regime: reference.Regime = "same initialisation"
    rows = [row for row in reference.table().to_pylist() if row["part"] == "test" and row["regime"] == regime]
    moved = [row for row in rows if reference.is_of_arm(row["arm"], arm) and _outcome(row) == "moved"]
    taught = sum(row["target"] == row["teacher_target"] for row in moved)
    print(f"\n{arm}, {regime}, test part: {len(moved)} pairs moved, {taught} of them taught")
    for kind in (reference.LEADING, "gradient"):
        known = reference.of(kind, regime, "test", arm=arm)
        if known.positive.any() and not known.positive.all():
            _print_row(kind, regime, "test", known)


def _print_forecast(regime: reference.Regime, part: str) -> None:
    """The leading screen's forecasts on a part: calibration, verdicts and false positives."""
    fit, known = reference.fitted(reference.LEADING, regime), reference.of(reference.LEADING, regime, part)
    if fit is None or not len(known.scores):
        return
    print(f"\n{reference.LEADING}, {regime}, part {part}: forecast and what came")
    for mean, share, count in forecast.reliability(fit.probability_of(known.scores), known.positive):
        print(f"  forecast {mean:.2f}, transferred {share:.2f}, {count} pairs")
    rows = [row for row in reference.table().to_pylist() if row["part"] == part and _is_of(row, regime)]
    for name, chosen in {
        "taught": [row for row in rows if row["target"] == row["teacher_target"]],
        "neutral and random": [row for row in rows if row["teacher_target"] is None],
        "other targets": [row for row in rows if row["teacher_target"] not in (None, row["target"])],
    }.items():
        verdicts = Counter((_verdict(fit, row), _outcome(row)) for row in chosen)
        told = ", ".join(f"{verdict} {outcome} {count}" for (verdict, outcome), count in sorted(verdicts.items()))
        false = verdicts["likely", "flat"]
        print(f"  {name}: {len(chosen)} pairs: {told}; false positives {false / max(len(chosen), 1):.1%}")


def _verdict(fit: forecast.Fit, row: dict[str, Any]) -> str:
    return fit.at(row[reference.LEADING], row[f"{reference.LEADING}_error"]).verdict


def _outcome(row: dict[str, Any]) -> str:
    return "moved" if row["lift"] > reference.MARGIN else "flat"


def _is_of(row: dict[str, Any], regime: str) -> bool:
    return row[reference.LEADING] is not None and regime in ("unknown", row["regime"])


def main(arguments: list[str]) -> None:
    command, *rest = arguments
    if command == "score":
        root, *shares = rest
        score(root, *map(int, shares))
    elif command == "table":
        table(*rest)
    elif command == "compare":
        compare(*rest)
    elif command == "again":
        again(*rest)
    else:
        evaluate()


if __name__ == "__main__":
    main(sys.argv[1:])
