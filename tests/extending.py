"""docs/extending.md, done as it says: every block is put where it belongs, in a copy of the project."""

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]


def extend(folder: Path) -> dict[str, str]:
    """Fill a folder with the project and the page's blocks; the environment variables of a process that runs there."""
    for name in ("pipeline", "jobs", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("integration"))
    page = (ROOT / "docs/extending.md").read_text()
    blocks = re.findall(r"```(python|diff|yaml) (\S+)\n(.*?)```", page, re.DOTALL)
    assert [kind for kind, _, _ in blocks].count("diff") == 5
    for kind, place, text in blocks:
        file = folder / place
        file.write_text(changed(file.read_text(), text) if kind == "diff" else text)
    return {"PYTHONPATH": str(folder)}


def changed(text: str, diff: str) -> str:
    """The text with each hunk's old lines, which must stand there once, replaced by its new ones."""
    for hunk in diff.strip("\n").split("\n\n"):
        old, new = ("".join(f"{line[1:]}\n" for line in hunk.split("\n") if line[0] in signs) for signs in (" -", " +"))
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text
