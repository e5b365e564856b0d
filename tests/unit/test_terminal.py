"""What is printed is what was meant, whatever names and messages hold."""

import io

import pytest
from rich.table import Table
from rich.text import Text

from jobs.terminal import Terminal
from pipeline.core.errors import InputError, StepError, visible

HOSTILE = "[/b] [red]x[/red] :owl: \x1b[2J\x9b1m\x07\r\u202e\udce9"
SHOWN = r"[/b] [red]x[/red] :owl: \x1b[2J\x9b1m\x07\r\u202e\udce9"


def printed(*what: object) -> str:
    file = io.StringIO()
    Terminal(file=file, width=200).print(*what, soft_wrap=True)
    return file.getvalue()


def test_strings_texts_cells_and_titles_come_out_as_they_are() -> None:
    kept = SHOWN.replace(r"\x07\r", "")  # rich itself leaves out what rings or goes back
    assert printed(HOSTILE) == printed(Text(HOSTILE)) == kept + "\n"
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    assert printed(table).count("[/b] [red]x[/red] :owl: \\x1b") == 3


def test_lines_and_tabs_and_every_script_stay() -> None:
    text = "one\n\ttwo: Füße 数字 شمس 🦉"
    assert visible(text) == text


def test_rich_still_colours_a_terminal() -> None:
    file = io.StringIO()
    Terminal(file=file, force_terminal=True, color_system="standard").print(Text("red", "red"))
    assert file.getvalue() == "\x1b[31mred\x1b[0m\n"


@pytest.mark.parametrize("kind", [InputError, StepError])
def test_a_message_is_safe_wherever_it_is_shown(kind: type[Exception]) -> None:
    assert str(kind(HOSTILE)) == SHOWN
    assert visible(SHOWN) == SHOWN
