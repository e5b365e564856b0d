"""Checks that the task files of a study's own folder are plain data, without code for lm-evaluation-harness to run."""

from pathlib import Path

import yaml

from pipeline.core import limits
from pipeline.core.errors import InputError


def require_plain(folder: Path, library: Path) -> None:
    """Raise InputError if a YAML file of the folder, or one that it includes, would run code.

    A tag !function makes the library run any function of any Python file or module. That is allowed only in the
    library's own files; library: their folder.
    """
    seen: set[Path] = set()
    for file in sorted(folder.resolve().rglob("*.yaml")):
        _require_plain(file.resolve(), folder.resolve(), library.resolve(), seen)


def _require_plain(file: Path, folder: Path, library: Path, seen: set[Path]) -> None:
    if file in seen or file.is_relative_to(library):
        return
    seen.add(file)
    if not file.is_relative_to(folder):
        raise InputError(f"{file} is included by a task of {folder}, and is neither in that folder nor in the library")
    for included in _included(file):
        _require_plain((file.parent / included).resolve(), folder, library, seen)


def _included(file: Path) -> list[str]:
    """The paths of the included files. Raises InputError if the file contains a tag."""
    try:
        with file.open("rb") as opened:
            content = opened.read(limits.STUDY_BYTES + 1)
        if len(content) > limits.STUDY_BYTES:
            raise InputError(f"{file} is larger than the {limits.STUDY_BYTES:,} bytes that a task may have")
        for event in yaml.parse(content, Loader=yaml.SafeLoader):
            tag = getattr(event, "tag", None)
            if tag and not tag.startswith("tag:yaml.org,2002:"):
                raise InputError(
                    f"{file}:{_line(event)}: the tag {tag} is not allowed: tasks of a folder are data and "
                    "run no code. Say it with the library's own settings, such as doc_to_text and filter_list"
                )
        task = yaml.safe_load(content)
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read the task {file}: {error}") from None
    included = task.get("include", []) if isinstance(task, dict) else []
    return [str(name) for name in (included if isinstance(included, list) else [included])]


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
