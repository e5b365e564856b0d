"""What the report says of transfer and kinship, and the figure."""

import pytest

from pipeline.analysis.kinship_curve import MEAN, SCALES, Curve, Pair, Point, Prediction
from pipeline.report.figures import LIGHT, svg
from pipeline.report.kinship_section import build, sentence


def predicted(name: str, error: float, low: float = 0.0) -> Prediction:
    return Prediction(name, f"label of {name}", error, error, low, 1.0, 3 if low == 0 else 0)


def test_the_best_measure_is_told_with_what_it_beats_and_what_it_does_not() -> None:
    errors = [predicted("a", 0.05), predicted("b", 0.06, -0.01), predicted(MEAN, 0.2, 0.02), predicted("c", 0.3, 0.03)]
    said = sentence(Curve([], errors, 5, "margin"))
    assert "Of 3 measures, one predicts γ of a family left out best: label of a" in said
    assert "error of 0.050 nats. The mean of the other families errs by 0.200." in said
    assert "beyond chance over: label of mean; label of c." in said
    assert "within chance over: label of b." in said
    assert "the best in 3 of 5 repetitions" in said


def test_it_is_told_that_no_measure_predicts_or_that_none_could_be_tested() -> None:
    assert sentence(Curve([], [predicted(MEAN, 0.2), predicted("a", 0.3)], 5, "margin")).startswith("No measure")
    assert "no measure can be tested" in sentence(Curve([], [], 0, "margin"))


@pytest.mark.slow
def test_the_figure_has_a_panel_per_measure_that_is_known_and_is_the_same_bytes_again() -> None:
    import matplotlib.pyplot

    known = {scale.name: 0.5 for scale in SCALES[:2]} | {SCALES[2].name: None}
    points = [
        Point(Pair("numbers", "a", "a"), 0.4, 0.3, 0.5, "transfer", known | {SCALES[4].name: 0.0}),
        Point(Pair("numbers", "a", "$\\frac{$"), 0.0, float("nan"), float("nan"), "underpowered", known),
    ]
    made = build(Curve(points, [], 0, "margin"))
    panels = [panel for panel in made(LIGHT).axes if panel.get_visible()]
    assert [panel.get_title(loc="left") for panel in panels] == [SCALES[i].label for i in (0, 1, 4)]
    assert panels[2].get_xlim()[0] > panels[2].get_xlim()[1]  # a divergence falls towards the relatives
    assert svg(made, LIGHT) == svg(made, LIGHT)
    assert svg(build(Curve([], [], 0, "margin")), LIGHT)
    assert not matplotlib.pyplot.get_fignums()
