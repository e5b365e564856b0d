"""Every screen says what it is good for, and the page on screens says the same."""

import re
from pathlib import Path

import pytest

from pipeline.screens import SCREENS

ROWS = dict(
    re.findall(
        r"^\| \**(\w+)\** \| .+? \| .+? \| (\d+) \|",
        (Path(__file__).parents[3] / "docs" / "screens.md").read_text(),
        re.MULTILINE,
    )
)


@pytest.mark.parametrize("kind", SCREENS)
def test_its_cost_is_that_of_the_page(kind: str) -> None:
    assert float(ROWS[kind]) == SCREENS[kind].COST


@pytest.mark.parametrize("kind", SCREENS)
def test_it_says_what_it_sees_misses_and_needs(kind: str) -> None:
    screen = SCREENS[kind]
    assert all((screen.UNIT, screen.SEES, screen.MISSES, screen.NEEDS))
