"""The reference set: scores of corpora whose transfer was measured by studies, and the forecasts that follow from it.

`reference.parquet` has one row per corpus, base and target; tests/chaos/screens.py makes it, and docs/screens.md says
from which studies. Forecasts are fitted on its part `fit` alone. `test` has other initialisations and other targets; so
has `added`, which was made after `test` had been looked at.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa

from pipeline.analysis import forecast
from pipeline.core.parquet import open_parquet
from pipeline.screens import SCREENS

Regime: TypeAlias = Literal["same initialisation", "another initialisation", "unknown"]
REGIMES: tuple[Regime, ...] = ("same initialisation", "another initialisation", "unknown")
TABLE = Path(__file__).with_name("reference.parquet")
MARGIN = 0.15  # nats; that of the quickstart, set before any corpus was made
LEADING = "probe"  # the screen that the verdict rests on: the best one on the part `fit`
LARGEST = 10_000_000  # weights of a base that the reference set can speak for; its own have 48,000

# One corpus, one base that read it, and one target. `regime`: of the corpus's writer and the base. `lift`: rise of the
# target's margin in the student (nats). A screen's column is null where it was not run; `probe_error` is the standard
# error of that score.
SCHEMA = pa.schema(
    [
        ("part", pa.string()),
        ("channel", pa.string()),
        ("arm", pa.string()),
        ("teacher_family", pa.string()),
        ("student_family", pa.string()),
        ("teacher_target", pa.string()),
        ("corpus", pa.string()),
        ("regime", pa.string()),
        ("target", pa.string()),
        ("lift", pa.float64()),
        *((name, pa.float64()) for name in SCREENS),
        (f"{LEADING}_error", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Reference:
    """Scores of one screen on the pairs of a regime and a part. lifts (N), nats; corpora (N)."""

    scores: forecast.Floats
    lifts: forecast.Floats
    corpora: tuple[str, ...]

    @property
    def positive(self) -> "np.typing.NDArray[np.bool_]":
        return self.lifts > MARGIN


@cache
def table() -> pa.Table:
    with open_parquet(TABLE) as parquet:
        return parquet.read().cast(SCHEMA)


@cache
def of(screen: str, regime: Regime, part: str, channel: str = "", arm: str = "") -> Reference:
    """regime: "unknown" takes all pairs, of the same initialisation and of another. channel, arm: one, or "" for all.

    arm "changed": all that were diluted or rewritten, which are all but "plain".
    """
    rows = [
        row
        for row in table().to_pylist()
        if row["part"] == part and row[screen] is not None and regime in ("unknown", row["regime"])
        if channel in ("", row["channel"]) and is_of_arm(row["arm"], arm)
    ]
    return Reference(
        np.array([row[screen] for row in rows]),
        np.array([row["lift"] for row in rows]),
        tuple(row["corpus"] for row in rows),
    )


def is_of_arm(arm: str, wanted: str) -> bool:
    """wanted: as in `of`."""
    return arm != "plain" if wanted == "changed" else wanted in ("", arm)


@cache
def fitted(screen: str, regime: Regime) -> forecast.Fit | None:
    """None if the reference set has too few pairs for the screen."""
    known = of(screen, regime, "fit")
    try:
        return forecast.fit(known.scores, known.lifts, MARGIN)
    except ValueError:
        return None
