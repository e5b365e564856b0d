"""The console of the command. It prints foreign names and messages literally, whatever they contain."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from pipeline.core.errors import visible


class Terminal(Console):
    """A console without markup and :emoji: codes: [/b] is part of a path, not a tag.

    Control characters in printed text are escaped; rich's own pass through.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
