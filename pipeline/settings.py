"""Reads a study file, applies overrides, and turns every mistake into one message that names its line."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from pipeline.channels import Channel
from pipeline.errors import StudyError
from pipeline.study import Study

SECRET = {"key_variable"}  # settings that somebody may have pasted a key into: never shown


def load(path: Path, overrides: Sequence[str] = ()) -> Study:
    """The study in `path` with `a.b=value` overrides applied.

    Raises StudyError naming file, line and field for anything that is wrong with either.
    """
    lines: dict[tuple[str | int, ...], int] = {}
    try:
        settings = _plain(_compose(path), path, (), lines)
    except RecursionError:
        raise StudyError(f"{path}: nested too deeply; does an alias (*) stand inside of its own anchor (&)?") from None
    if not isinstance(settings, dict):
        raise StudyError(f"{path}:1: a study is a mapping of settings, not a {type(settings).__name__}")
    for override in overrides:
        _apply(settings, override)
    try:
        return Study.model_validate(settings)
    except ValidationError as error:
        raise StudyError("\n".join(_messages(error, path, lines, settings))) from None


def channel(kind: str, overrides: Sequence[str] = ()) -> Channel:
    """A channel by its kind, with `name=value` settings. Raises StudyError naming the setting that is wrong."""
    settings: dict[str, Any] = {"kind": kind}
    for override in overrides:
        _apply(settings, override)
    try:
        return TypeAdapter[Channel](Channel).validate_python(settings)
    except ValidationError as error:
        raise StudyError("\n".join(_messages(error, Path(f"--set of {kind}"), {}, settings))) from None


def _compose(path: Path) -> yaml.Node:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"cannot read the study file {path}: {error}") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise StudyError(f"{path}:{line}: not YAML: {error.problem or error}") from None
    except yaml.YAMLError as error:
        raise StudyError(f"{path}: not YAML: {error}") from None
    if node is None:
        raise StudyError(f"{path}: the study file is empty")
    return node


def _plain(node: yaml.Node, path: Path, place: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]) -> Any:
    """Plain Python values of a YAML node; notes the line of every place. Tags and repeated keys are errors."""
    line = node.start_mark.line + 1
    lines.setdefault(place, line)
    if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
        raise StudyError(f"{path}:{line}: the tag {node.tag} is not allowed; a study is plain YAML")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, path, (*place, i), lines) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(node, path, line)
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(_plain(key_node, path, place, {}))
        if key in mapping:
            raise StudyError(f"{path}:{key_node.start_mark.line + 1}: the key {key} stands twice in one mapping")
        lines[(*place, key)] = key_node.start_mark.line + 1
        mapping[key] = _plain(value_node, path, (*place, key), lines)
    return mapping


def _scalar(node: yaml.Node, path: Path, line: int) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:
        raise StudyError(f"{path}:{line}: not a plain YAML value: {error}") from None


def _apply(settings: dict[str, Any], override: str) -> None:
    """Set one `a.b=value` in place; the value is read as YAML."""
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise StudyError(f"--set {override}: write it as name.of.setting=value")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StudyError(f"--set {override}: {text!r} is not a plain YAML value: {error}") from None
    *parents, last = dotted.split(".")
    place: Any = settings
    for parent in parents:
        place = _item(place, parent, override) if isinstance(place, list) else place.setdefault(parent, {})
        if not isinstance(place, dict | list):
            raise StudyError(f"--set {override}: {parent} is a plain value and has no settings of its own")
    if isinstance(place, list):
        _item(place, last, override)
        place[int(last)] = value
    else:
        place[last] = value


def _item(items: list[Any], index: str, override: str) -> Any:
    if not index.isdecimal() or int(index) >= len(items):
        raise StudyError(f"--set {override}: {index} is no index of a list of {len(items)}")
    return items[int(index)]


def _messages(
    error: ValidationError, path: Path, lines: dict[tuple[str | int, ...], int], settings: dict[str, Any]
) -> Iterable[str]:
    for problem in error.errors():
        place = _place(problem["loc"], settings)
        line = next((lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in lines), 1)
        field = ".".join(str(part) for part in place) or "study"
        if problem["type"] == "union_tag_invalid":
            told = problem["ctx"]
            yield f"{path}:{line}: {field}.kind: there is no {told['tag']}; there is {told['expected_tags']}"
            continue
        what = {
            "extra_forbidden": "unknown setting",
            "missing": "missing; it has no default",
            "union_tag_not_found": "its kind is missing",
        }.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        given = problem["input"]
        secret = place and place[-1] in SECRET
        shown = f" (given: {given!r})" if isinstance(given, str | int | float | list) and not secret else ""
        yield f"{path}:{line}: {field}: {what}{shown}"


def _place(location: tuple[str | int, ...], settings: Any) -> tuple[str | int, ...]:
    """A location of pydantic's without the discriminators' values, which it puts in between the settings' names."""
    place: list[str | int] = []
    for i, part in enumerate(location):
        if isinstance(settings, dict) and part not in settings and i < len(location) - 1:
            continue
        place.append(part)
        if isinstance(settings, dict):
            settings = settings.get(part)
        elif isinstance(settings, list) and isinstance(part, int):
            settings = settings[part]
    return tuple(place)
