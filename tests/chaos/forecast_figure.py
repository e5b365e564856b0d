"""The picture of docs/screens.md: ROC and calibration curves of the reference set's test part."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.analysis import forecast
from pipeline.report.figures import Theme
from pipeline.screens import reference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRID = np.linspace(0, 1, 101)
BINS = 5
OWN: reference.Regime = "same initialisation"
SELECTIONS: list[tuple[str, reference.Regime, str]] = [  # title, regime, channel
    *((regime if regime != "unknown" else "both, as when unknown", regime, "") for regime in reference.REGIMES),
    *((f"{channel}, {OWN}", OWN, channel) for channel in ("numbers", "code", "paraphrase")),
]


def build(theme: Theme) -> "Figure":
    """ROC curves above, calibration curves below: by regime, then by channel. Bands: 95 %, by resampled corpora."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 12.5), layout="constrained")
    panels = figure.subplots(4, 3, squeeze=False)
    for number, (title, regime, channel) in enumerate(SELECTIONS):
        row, column = divmod(number, 3)
        above, below = panels[2 * row][column], panels[2 * row + 1][column]
        above.set_title(title, loc="left", color=theme.faint, fontsize=9.5)
        for screen, colour in ((reference.LEADING, theme.same), ("gradient", theme.cross)):
            _roc(above, reference.of(screen, regime, "test", channel), screen, colour)
        _calibration(below, regime, channel, theme)
        for panel in (above, below):
            panel.plot([0, 1], [0, 1], color=theme.line, linewidth=1, zorder=0)
            panel.set_aspect("equal")
        above.legend(loc="lower right", frameon=False, fontsize=8.5)
        above.set_xlabel("flat pairs above the threshold")
        below.set_xlabel("forecast")
        if not column:
            above.set_ylabel("moved pairs above the threshold")
            below.set_ylabel("share that moved")
    return figure


def _roc(panel: "Axes", known: reference.Reference, screen: str, colour: str) -> None:
    area = forecast.auroc(known.scores, known.positive)
    panel.plot(*forecast.roc(known.scores, known.positive), color=colour, label=f"{screen}, {area:.2f}")
    low, high = _band(known.corpora, partial(_rates, known))
    panel.fill_between(GRID, low, high, color=colour, alpha=0.15, linewidth=0)


def _rates(known: reference.Reference, chosen: Any) -> Any:
    positive = known.positive[chosen]
    if positive.all() or not positive.any():
        return np.full(len(GRID), np.nan)
    return np.interp(GRID, *forecast.roc(known.scores[chosen], positive))


def _calibration(panel: "Axes", regime: reference.Regime, channel: str, theme: Theme) -> None:
    """The leading screen's forecasts, and what came. The fit is that of the regime, of all channels."""
    known, fit = reference.of(reference.LEADING, regime, "test", channel), reference.fitted(reference.LEADING, regime)
    assert fit is not None
    forecasts = fit.probability_of(known.scores)

    def shares(chosen: Any) -> Any:
        return [share for _, share, _ in forecast.reliability(forecasts[chosen], known.positive[chosen], BINS)]

    bins = forecast.reliability(forecasts, known.positive, BINS)
    means, found = [mean for mean, _, _ in bins], [share for _, share, _ in bins]
    low, high = _band(known.corpora, shares)
    panel.vlines(means, low, high, color=theme.same, alpha=0.4)
    panel.plot(means, found, "o-", color=theme.same, markersize=4)
    panel.set_xlim(-0.03, 1.03)
    panel.set_ylim(-0.03, 1.03)


def _band(corpora: Sequence[str], values: Callable[[Any], Any]) -> Any:
    """The interval of values over resampled corpora: low, high."""
    return np.nanquantile([values(chosen) for chosen in forecast.resampled(corpora)], forecast.TAILS, axis=0)
