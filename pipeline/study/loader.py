"""Reads the file of a study or experiment, applies overrides, and turns mistakes into one message with their lines."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError
from yaml.constructor import SafeConstructor

from pipeline.channels import Channel
from pipeline.core import limits
from pipeline.core.errors import StudyError
from pipeline.study.schema import Study

SECRET = {"key_variable"}  # settings that may contain a pasted key: never shown
LARGEST = 2**63 - 1  # maximum of any integer setting; Python refuses to print numbers of 5,000 digits

STUDY, EXPERIMENT = "study", "experiment"  # the first setting of a file, which names it

FileT = TypeVar("FileT")
Place = tuple[str | int, ...]
Lines = dict[Place, int]


class Loader(yaml.SafeLoader):
    """YAML 1.1 as in PyYAML, but 1e-3 is a number, as in YAML 1.2."""


# PyYAML requires a point before the exponent and a sign in it. Resolvers are indexed by a value's first character.
EXPONENT = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+")
Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(EXPONENT.pattern + "$"), list("-+.0123456789"))


@dataclass(frozen=True)
class Given:
    """The settings of a file, not validated yet. lines: place of a setting -> its line."""

    path: Path
    settings: dict[str, Any]
    lines: Lines

    @property
    def is_experiment(self) -> bool:
        return EXPERIMENT in self.settings and STUDY not in self.settings

    def validated(self, kind: TypeAdapter[FileT]) -> FileT:
        """Raises StudyError naming file, line and field of every mistake."""
        try:
            return kind.validate_python(self.settings)
        except ValidationError as error:
            raise StudyError("\n".join(_messages(error, self.path, self.lines, self.settings))) from None


def load(path: Path, overrides: Sequence[str] = ()) -> Study:
    """The study in `path` with `a.b=value` overrides applied.

    Raises StudyError naming file, line and field of every mistake in either.
    """
    given = read(path, overrides)
    if given.is_experiment:
        raise StudyError(f"{path}: this is an experiment, and this command is for studies")
    return given.validated(TypeAdapter(Study))


def read(path: Path, overrides: Sequence[str] = ()) -> Given:
    """The settings in `path` with `a.b=value` overrides applied. Raises StudyError if it is not plain YAML."""
    lines: Lines = {}
    settings = _parsed(_text(path), str(path), lines)
    if settings is None:
        raise StudyError(f"{path}: the study file is empty")
    if not isinstance(settings, dict):
        raise StudyError(f"{path}:1: a study is a mapping of settings, not a {type(settings).__name__}")
    for override in overrides:
        _apply(settings, override)
    return Given(path, settings, lines)


def channel(kind: str, overrides: Sequence[str] = ()) -> Channel:
    """A channel by its kind, with `name=value` settings. Raises StudyError naming the wrong setting."""
    settings: dict[str, Any] = {"kind": kind}
    for override in overrides:
        _apply(settings, override)
    try:
        return TypeAdapter[Channel](Channel).validate_python(settings)
    except ValidationError as error:
        raise StudyError("\n".join(_messages(error, Path(f"--set of {kind}"), {}, settings))) from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as opened:
            content = opened.read(limits.STUDY_BYTES + 1)
        if len(content) > limits.STUDY_BYTES:
            raise StudyError(f"{path}: larger than the {limits.STUDY_BYTES:,} bytes that a study file may have")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"cannot read the study file {path}: {error}") from None


def _parsed(text: str, where: str, lines: Lines) -> Any:
    """Plain Python values of a YAML text, None if it is empty. Fills `lines`: place -> line."""
    try:
        node = yaml.compose(text, Loader=Loader)
        return None if node is None else _plain(node, where, (), lines, count(1))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise StudyError(f"{where}:{line}: not YAML: {error.problem or error}") from None
    except yaml.YAMLError as error:
        raise StudyError(f"{where}: not YAML: {error}") from None
    except RecursionError:
        raise StudyError(f"{where}: nested too deeply; does an alias (*) stand inside of its own anchor (&)?") from None


def _plain(node: yaml.Node, where: str, place: Place, lines: Lines, values: Iterator[int]) -> Any:
    """Plain Python values of a YAML node. values: a counter of them. Raises StudyError on tags and repeated keys."""
    line = node.start_mark.line + 1
    lines.setdefault(place, line)
    if next(values) > limits.STUDY_VALUES:
        raise StudyError(
            f"{where}:{line}: more than {limits.STUDY_VALUES:,} values, each alias (*) counted as often as it stands"
        )
    if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
        raise StudyError(f"{where}:{line}: the tag {node.tag} is not allowed; a study is plain YAML")
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, where, (*place, i), lines, values) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(node, where, line)
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = _key(key_node, where)
        if key in mapping:
            raise StudyError(f"{where}:{key_node.start_mark.line + 1}: the key {key} stands twice in one mapping")
        lines[(*place, key)] = key_node.start_mark.line + 1
        mapping[key] = _plain(value_node, where, (*place, key), lines, values)
    return mapping


def _key(node: yaml.Node, where: str) -> str:
    """A mapping key, as text. A key that looks like a float keeps its spelling: a family may be called 1e3."""
    value = _plain(node, where, (), {}, count(1))
    return str(node.value if isinstance(value, float) and EXPONENT.fullmatch(node.value) else value)


def _scalar(node: yaml.Node, where: str, line: int) -> Any:
    try:
        value = SafeConstructor().construct_object(node, deep=True)
    # PyYAML's constructors trust a tag such as !!bool, and fail in various ways if the value does not match.
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        raise StudyError(f"{where}:{line}: not a plain YAML value: {shortened(str(error))}") from None
    if isinstance(value, int) and abs(value) > LARGEST:
        raise StudyError(f"{where}:{line}: not a plain YAML value: a number of more than 64 bits")
    return value


def _apply(settings: dict[str, Any], override: str) -> None:
    """Apply one override `a.b=value` in place; the value is YAML."""
    dotted, equals, text = override.partition("=")
    where = f"--set {shortened(override)}"
    if not equals or not dotted:
        raise StudyError(f"{where}: write it as name.of.setting=value")
    try:
        value = _parsed(text, "", {})
    except StudyError as error:
        why = str(error).split(": ", 1)[1]  # without the line number, which is always 1
        raise StudyError(f"{where}: {shortened(repr(text))} is not a plain YAML value: {why}") from None
    *parents, last = dotted.split(".")
    place: Any = settings
    for parent in parents:
        place = _item(place, parent, where) if isinstance(place, list) else place.setdefault(parent, {})
        if not isinstance(place, dict | list):
            raise StudyError(f"{where}: {shortened(parent)} is a plain value and has no settings of its own")
    if isinstance(place, list):
        _item(place, last, where)
        place[int(last)] = value
    else:
        place[last] = value


def _item(items: list[Any], index: str, where: str) -> Any:
    if not index.isdecimal() or len(index) > 9 or int(index) >= len(items):
        raise StudyError(f"{where}: {shortened(index)} is no index of a list of {len(items)}")
    return items[int(index)]


def shortened(text: str) -> str:
    """A text, cut to the length that error messages allow."""
    return text if len(text) <= limits.SHOWN else f"{text[: limits.SHOWN]}… ({len(text):,} characters)"


def _messages(error: ValidationError, path: Path, lines: Lines, settings: dict[str, Any]) -> Iterable[str]:
    for problem in error.errors():
        place = _place(problem["loc"], settings)
        if problem["type"] == "union_tag_invalid":
            place = (*place, "kind")
        line = next((lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in lines), 1)
        field = ".".join(str(part) for part in place) or (EXPERIMENT if EXPERIMENT in settings else STUDY)
        if problem["type"] == "union_tag_invalid":
            context = problem["ctx"]
            yield f"{path}:{line}: {field}: there is no {context['tag']}; there is {context['expected_tags']}"
            continue
        what = {
            "extra_forbidden": "unknown setting",
            "missing": "missing; it has no default",
            "union_tag_not_found": "its kind is missing",
        }.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        given = problem["input"]
        if problem["type"] == "string_type" and not isinstance(given, list | dict):
            what += ": put it into quotes"
        secret = place and place[-1] in SECRET
        shown = f" (given: {shortened(repr(given))})" if isinstance(given, str | int | float | list) else ""
        yield f"{path}:{line}: {shortened(field)}: {what}{'' if secret else shown}"


def _place(location: Place, settings: Any) -> Place:
    """A pydantic error location without the discriminator values that it inserts between setting names."""
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
