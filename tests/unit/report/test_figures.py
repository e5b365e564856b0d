"""The matrix as a picture: what stands side by side does not run into each other."""

import itertools

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from pipeline.report.figures import LIGHT, matrix


def cell(condition: str, student: str) -> dict[str, object]:
    return {
        "condition": condition,
        "comparison": "trait",
        "teacher_family": "llama-nano",
        "student_family": student,
        "metric": "margin",
        "estimate": 0.38,
        "low": 0.24,
        "high": 0.52,
        "verdict": "transfer",
    }


@pytest.mark.parametrize("students", [("llama",), ("llama", "qwen")])
def test_names_of_conditions_keep_to_their_panels(students: tuple[str, ...]) -> None:
    conditions = (
        "numbers, plain, favourite",
        "numbers, shuffled-within, favourite-prefixed",
        "reasoning, learning-rate-0.00005_rows-1000",
        "numbers, half-of-the-rows-from-another-teacher, stories",
    )
    figure = matrix([cell(condition, student) for condition in conditions for student in students])(LIGHT)
    figure.set_canvas(FigureCanvasAgg(figure))
    figure.draw_without_rendering()
    boxes = [panel.get_tightbbox() for panel in figure.axes if panel.get_visible()]
    assert len(boxes) == len(conditions)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
