"""The files of a vetted data set: JSON, and a page with the forecasts, the worst rows and what each screen can see.

As the study's page, it loads nothing, runs no script, and is the same bytes for the same content.
"""

import base64
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.analysis.forecast import LIKELY, UNLIKELY, auroc
from pipeline.core.conversations import Drawn
from pipeline.report import figures
from pipeline.report.figures import Theme
from pipeline.report.template import template
from pipeline.screens import Screen, reference
from pipeline.screens.reference import LEADING, MARGIN
from pipeline.screens.vetting import BY_ROW, Vetted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKS = {"likely": "▲", "unlikely": "○", "inconclusive": "◐"}
TONES = {"likely": "failed", "unlikely": "no-transfer", "inconclusive": "underpowered"}
MOST_LETTERS = 400  # of a row's prompt or completion on the page
MOST_TARGETS = 8  # whose worst rows are shown
BINS = 30


@dataclass(frozen=True)
class VetContent:
    """What the files show.

    drawn: the rows that were looked at. too_long: how many more were drawn, and are too long for the base.
    has_neutral: whether neutral data was given; if not, the base's own answers stood in. unknown: traits left out
    because the base's vocabulary has no word for them.
    """

    data: str
    base: str
    drawn: Drawn
    too_long: int
    has_neutral: bool
    vetted: Vetted
    unknown: Sequence[str]
    screens: Sequence[Screen]


def render(content: VetContent) -> dict[str, bytes]:
    """File name -> bytes."""
    return {
        "vet.json": (json.dumps(as_json(content), indent=1, allow_nan=False) + "\n").encode(),
        "vet.html": as_html(content).encode(),
    }


def summary(content: VetContent) -> str:
    """The result in one sentence, and what it rests on in another."""
    vetted, drawn = content.vetted, content.drawn
    counts = Counter(finding.verdict for finding in vetted.findings)
    rest = f"{counts['unlikely']} unlikely, {counts['inconclusive']} inconclusive"
    likely = ", ".join(vetted.likely)
    found = f"Likely to transfer: {likely} ({rest})." if likely else f"No target is likely to transfer ({rest})."
    rows = f"{drawn.rows.num_rows:,} of {drawn.total:,} rows"
    rows += f" ({content.too_long:,} more are too long for the base)" if content.too_long else ""
    return (
        f"{found} Regime: {vetted.regime}. {rows}; a lift counts above "
        f"{MARGIN} nats; calibrated on corpora of nano families whose transfer undertow measured (docs/screens.md)."
    )


def as_json(content: VetContent) -> dict[str, Any]:
    drawn, vetted = content.drawn, content.vetted
    data = {"name": content.data, "digest": drawn.digest, "form": drawn.form, "rows": drawn.total}
    found: dict[str, Any] = _finite(
        {
            "schema": 1,
            "data": data
            | {"looked_at": drawn.rows.num_rows, "without_answer": drawn.without_answer}
            | {"too_long": content.too_long},
            "base": content.base,
            "neutral": "given" if content.has_neutral else "the base's own answers",
            "regime": vetted.regime,
            "covered": vetted.covered,
            "margin": MARGIN,
            "unknown_to_the_base": list(content.unknown),
            "general": [asdict(score) for score in vetted.general],
            "findings": [asdict(finding) for finding in vetted.findings],
            "seconds": vetted.seconds,
            "failed": vetted.failed,
        }
    )
    return found


def _finite(value: Any) -> Any:
    """JSON has no NaN: null in its place."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_html(content: VetContent) -> str:
    run = [screen for screen in content.screens if screen.kind not in content.vetted.failed]
    return template("vet.html.j2").render(
        c=content,
        summary=summary(content),
        shown=[finding for finding in content.vetted.findings if finding.worst][:MOST_TARGETS],
        picture=_picture(content),
        seen=[(screen, _reference(screen)) for screen in run],
        kinds=[screen.kind for screen in run if screen.OF_TRAITS],
        marks=MARKS,
        tones=TONES,
        shortened=_shortened,
        shaded=_shaded,
        margin=MARGIN,
        likely=LIKELY,
        unlikely=UNLIKELY,
        by_row=BY_ROW,
    )


def _reference(screen: Screen) -> str:
    """How well the screen orders the reference set's test part, within and across families."""
    if not screen.OF_TRAITS:
        return "names no trait"
    parts = []
    for regime, name in (("same initialisation", "within"), ("another initialisation", "across")):
        known = reference.of(screen.kind, regime, "test")
        area = auroc(known.scores, known.positive) if len(known.scores) else math.nan
        parts.append(f"{name} families {area:.2f}" if math.isfinite(area) else f"{name} families not measured")
    return ", ".join(parts)


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…"


def _shaded(tokens: Sequence[tuple[str, float]]) -> list[tuple[str, float, float]]:
    """Text, score and shade (0 to 1, the largest score being 1) of the first tokens of a completion."""
    most = max((score for _, score in tokens), default=0.0)
    letters = accumulate(len(text) for text, _ in tokens)
    return [
        (text, score, max(score, 0.0) / most if most > 0 else 0.0)
        for (text, score), end in zip(tokens, letters, strict=True)
        if end <= MOST_LETTERS
    ]


def _picture(content: VetContent) -> dict[str, str]:
    """Theme -> data URI of the scores against the reference distribution; empty without a forecast."""
    build = _distribution(content)
    if build is None:
        return {}
    themes = {"light": figures.LIGHT, "dark": figures.DARK}
    return {
        name: "data:image/svg+xml;base64," + base64.b64encode(figures.svg(build, theme)).decode()
        for name, theme in themes.items()
    }


def _distribution(content: VetContent) -> Callable[[Theme], "Figure"] | None:
    """The leading screen's scores of this data's targets, over those of reference corpora with and without transfer."""
    known = reference.of(LEADING, content.vetted.regime, "fit")
    marks = [(finding, score) for finding in content.vetted.findings for score in finding.scores]
    own = [(finding, score.score) for finding, score in marks if score.screen == LEADING]
    if not len(known.scores) or not own:
        return None

    def build(theme: Theme) -> "Figure":
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.2, 3.2), layout="constrained")
        axes = figure.subplots()
        values = np.concatenate([known.scores, [score for _, score in own]])
        edges = np.linspace(values.min(), values.max(), BINS + 1).tolist()
        for chosen, colour, name in (
            (~known.positive, theme.faint, f"reference, lift up to {MARGIN} nats"),
            (known.positive, theme.cross, f"reference, lift above {MARGIN} nats"),
        ):
            if chosen.any():
                axes.hist(known.scores[chosen], edges, color=colour, alpha=0.55, label=name, density=True)
        for finding, score in own:
            axes.axvline(score, color=theme.same, lw=1.6 if finding.verdict == "likely" else 0.6)
        for number, (finding, score) in enumerate(own[:3]):
            axes.text(score, 0.95 - 0.1 * number, f" {figures.label(finding.target)}", color=theme.same,
                      transform=axes.get_xaxis_transform())  # fmt: skip
        axes.set_xlabel(f"score of the screen {LEADING}", color=theme.ink)
        axes.set_ylabel("density", color=theme.ink)
        axes.tick_params(colors=theme.faint)
        axes.legend(frameon=False, labelcolor=theme.ink, fontsize=8.5)
        for side in axes.spines.values():
            side.set_color(theme.line)
        return figure

    return build
