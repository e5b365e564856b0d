"""The templates of the pages, and how they write numbers. Names come from users, so everything is escaped."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import visible
from pipeline.report.figures import signed

if TYPE_CHECKING:
    from jinja2 import Template


def template(name: str, folder: Path | None = None) -> "Template":
    """A template of this folder or, before it, of another one, whose templates may extend those of this one."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    page = Environment(
        loader=FileSystemLoader([*([folder] if folder else []), Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters.update(
        signed=signed, plain=_plain, count=_count, duration=_duration, p=_p, percent=_percent, mass=_mass
    )
    return page.get_template(name)


def _shown(value: object) -> object:
    """Text with its hidden characters escaped; markup, which is text that was escaped already, as it is."""
    return visible(value) if type(value) is str else value


def _plain(value: object) -> str:
    return f"{value:.3f}".replace("-", "−") if isinstance(value, int | float) else "—"


def _mass(value: object) -> str:
    """Two significant digits: 0.97, 0.00061."""
    return f"{value:.2g}" if isinstance(value, int | float) else "—"


def _count(value: object) -> str:
    """12 345, with a thin non-breaking space."""
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else "—"


def _percent(value: object) -> str:
    return f"{value:.1%}" if isinstance(value, int | float) else "—"


def _p(value: object) -> str:
    if not isinstance(value, int | float):
        return "—"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _duration(seconds: object) -> str:
    """8.2 s, 4 min 05 s, 3 h 20 min."""
    if not isinstance(seconds, int | float):
        return "—"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
