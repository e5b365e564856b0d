"""How well the screens of the reference set forecast the lifts of its test part: the figures of docs/screens.md.

python -m tests.chaos.forecasts                        # fits on one part and reports the others
python -m tests.chaos.forecasts second-students ROOT   # how well another student of a corpus tells its lift
python -m tests.chaos.forecasts picture FILE           # ROC and calibration curves, as a PNG
"""

import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.analysis import forecast
from pipeline.report import figures
from pipeline.screens import SCREENS, reference
from pipeline.store import open_store
from tests.chaos import forecast_figure
from tests.chaos.screens import measured

OWN: reference.Regime = "same initialisation"
ACROSS: reference.Regime = "another initialisation"
COLUMNS = ("lift", reference.LEADING, "gradient")


def evaluate() -> None:
    """Print, for each screen and regime, how the test part bears out the fit, as Markdown."""
    print("| screen | regime | part | pairs | corpora | AUROC of lift > margin | Spearman with lift |")
    print("|---|---|---|---|---|---|---|")
    for kind, screen in SCREENS.items():
        for regime in (OWN, ACROSS):
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
    for regime in (OWN, ACROSS):
        for arm in ("", "plain", "changed"):
            _print_centred(regime, arm)
    print("\nadded later: arithmetic")
    for regime in (OWN, ACROSS):
        for kind in (reference.LEADING, "gradient"):
            _print_row(kind, regime, "added", reference.of(kind, regime, "added", "reasoning"))
    for regime in reference.REGIMES:
        _print_forecast(regime, "added")


def second_students(root: str) -> None:
    """How well each screen, and a second student of the same corpus, tell the lift of the student in the table.

    No screen can tell what two students of one corpus do not share.
    """
    others: dict[tuple[str, str, str], dict[int, float]] = {}
    for pair in measured(open_store(root)):
        for target, lift in pair.lifts.items():
            key = (pair.corpus.removeprefix("corpus/"), pair.about["student_family"], target)
            others.setdefault(key, {})[pair.seed] = lift
    for regime in (OWN, ACROSS):
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
                _print_second(f"{regime}, {arm or 'all'}", rows)


def _print_second(title: str, rows: list[dict[str, Any]]) -> None:
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
    if not len(reference.of(reference.LEADING, OWN, "test", channel).scores):
        return
    print(f"\n{channel}, {OWN}, test part")
    for kind in (reference.LEADING, "gradient"):
        known = reference.of(kind, OWN, "test", channel)
        if known.positive.any() and not known.positive.all():
            _print_row(kind, OWN, "test", known)
    fit, known = reference.fitted(reference.LEADING, OWN), reference.of(reference.LEADING, OWN, "test", channel)
    if fit is not None:
        for mean, share, count in forecast.reliability(fit.probability_of(known.scores), known.positive, bins=3):
            print(f"  forecast {mean:.2f}, transferred {share:.2f}, {count} pairs")


def _print_arm(arm: str) -> None:
    rows = [row for row in reference.table().to_pylist() if row["part"] == "test" and row["regime"] == OWN]
    moved = [row for row in rows if reference.is_of_arm(row["arm"], arm) and _outcome(row) == "moved"]
    taught = sum(row["target"] == row["teacher_target"] for row in moved)
    print(f"\n{arm}, {OWN}, test part: {len(moved)} pairs moved, {taught} of them taught")
    for kind in (reference.LEADING, "gradient"):
        known = reference.of(kind, OWN, "test", arm=arm)
        if known.positive.any() and not known.positive.all():
            _print_row(kind, OWN, "test", known)


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


def _print_centred(regime: str, arm: str) -> None:
    """How well two screens tell what a corpus does to a target beyond what its cell's corpora do, and beyond what it
    does to all targets: doubly centred lifts, from doubly centred scores.

    A cell is one channel, arm and pair of families, with one corpus of each teacher of a trait.
    """
    cells: dict[tuple[str, ...], dict[tuple[str, str], list[float]]] = defaultdict(dict)
    for row in reference.table().to_pylist():
        is_of_cell = (row["part"], row["regime"]) == ("test", regime) and reference.is_of_arm(row["arm"], arm)
        if is_of_cell and row["teacher_target"] is not None:
            cell = cells[row["channel"], row["arm"], row["teacher_family"], row["student_family"]]
            cell[row["corpus"], row["target"]] = [row[name] for name in COLUMNS]
    corpora, values = [], []
    for cell in cells.values():
        names = sorted({corpus for corpus, _ in cell})
        targets = sorted({target for _, target in cell})
        found = np.array([[cell[corpus, target] for target in targets] for corpus in names])
        found = found - found.mean(0) - found.mean(1, keepdims=True) + found.mean((0, 1))
        values.append(found.reshape(-1, len(COLUMNS)))
        corpora += [corpus for corpus in names for _ in targets]
    lifts, *scores = np.concatenate(values).T
    print(f"\n{arm or 'all'}, {regime}, test part, doubly centred: {(lifts > reference.MARGIN).sum()} pairs moved")
    for kind, column in zip(COLUMNS[1:], scores, strict=True):
        _print_row(kind, regime, "test", reference.Reference(column, lifts, tuple(corpora)))


def main(arguments: list[str]) -> None:
    match arguments:
        case []:
            evaluate()
        case ["second-students", root]:
            second_students(root)
        case ["picture", file]:
            Path(file).write_bytes(figures.png(forecast_figure.build))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
