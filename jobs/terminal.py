"""Where the command prints: names and messages of others come out as they are, whatever they hold."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from pipeline.core.errors import visible


class Terminal(Console):
    """A console without markup, so that [/b] is no tag but part of a path, and without :emoji: codes.

    Control characters in what is printed are written out; rich's own pass.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
