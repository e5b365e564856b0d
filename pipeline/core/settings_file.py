"""Small YAML and JSON files that users write, as settings."""

import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from pipeline.core.errors import InputError
from pipeline.core.settings import Settings

Kind = TypeVar("Kind", bound=Settings)


def read_settings(path: Path, shape: type[Kind], what: str, most_bytes: int) -> tuple[Kind, bytes]:
    """The settings in a file, and its bytes. JSON is read as such, which is faster, if the name ends so.

    what: the kind of file, for messages, such as "an audit file". Raises InputError naming the file and what is wrong.
    """
    try:
        if path.stat().st_size > most_bytes:
            raise InputError(f"{path} is larger than {most_bytes >> 20} MiB: it is not {what}")
        content = path.read_bytes()
        text = content.decode()
        fields: Any = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        return shape.model_validate(fields), content
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        if isinstance(error, ValidationError):
            raise InputError("\n".join(f"{path}: {line}" for line in _said(error))) from None
        raise InputError(f"{path} cannot be read as {what}: {str(error).splitlines()[0]}") from None


def _said(error: ValidationError) -> list[str]:
    return [
        f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg'].removeprefix('Value error, ')}"
        for one in error.errors()
    ]
