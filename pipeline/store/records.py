"""The fields of manifests and unit records, and their checksum.

Stored manifests and records are validated against these shapes before use: strict types, no unknown keys, no path
that leads out of the artifact's folder.
"""

import hashlib
import json
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, StrictStr, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from pipeline.core.errors import ArtifactError
from pipeline.store.step import ID_LENGTH, KINDS

CHECKSUM, _BLANK = "checksum", "0" * 64
Json = dict[str, Any]
Shape = TypeVar("Shape")


def _relative(path: str) -> str:
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError("is no path inside of the artifact's folder")
    return path


Count = Annotated[int, Field(strict=True, ge=0)]
Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Sha256 = Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$")]
Identity = Annotated[StrictStr, Field(pattern=r"^([0-9a-f]{64})?$")]  # empty if the step was not made by the planner
Id = Annotated[StrictStr, Field(pattern=rf"^[0-9a-f]{{{ID_LENGTH}}}$")]
RelativePath = Annotated[StrictStr, AfterValidator(_relative)]
ArtifactPath = Annotated[StrictStr, Field(pattern=rf"^({'|'.join(KINDS)})/[^/\x00-\x1f\x7f]+-[0-9a-f]{{{ID_LENGTH}}}$")]
RowRange = Annotated[list[Count], Field(min_length=2, max_length=2)]

_CONFIG = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_CONFIG)
class File:
    """One file of an artifact; `rows` is null unless it is a table.

    path: the name that readers use. place: its path in the artifact's folder. They differ if an attempt at a unit
    found other bytes under a name (an earlier attempt died, or ran concurrently): it then writes to its own folder.
    """

    path: RelativePath
    bytes: Count
    sha256: Sha256
    rows: Count | None = None
    attempt: Annotated[int, Field(strict=True, ge=1)] = 1

    @property
    def place(self) -> str:
        return place(self.path, self.attempt)


def place(name: str, attempt: int) -> str:
    return name if attempt == 1 else f"attempt-{attempt}/{name}"


@dataclass(frozen=True, config=_CONFIG)
class Input:
    """A reference to an input artifact. manifest: SHA-256 of the input's manifest."""

    path: ArtifactPath
    manifest: Sha256


@dataclass(frozen=True, config=_CONFIG)
class Produced:
    """started, ended: UNIX seconds. seconds: of work, summed over units."""

    started: Seconds
    ended: Seconds
    seconds: Seconds
    machines: list[StrictStr]
    versions: dict[StrictStr, StrictStr]


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def _like(shape: type) -> AfterValidator:
    """A validator: the dictionary must have the fields of the shape; it stays a dictionary."""
    adapter = _adapter(shape)

    def check(value: Json) -> Json:
        adapter.validate_python(value)
        return value

    return AfterValidator(check)


@dataclass(frozen=True, config=_CONFIG)
class Manifest:
    """The content of a finished artifact and its origin.

    inputs: role -> the fields of Input. results: what the step measured. produced: the fields of Produced. identity:
    see step.identity; manifests of earlier versions have none. digest: the SHA-256 of this manifest's bytes; it is not
    stored in them.
    """

    kind: StrictStr
    id: Id
    path: ArtifactPath
    schema: Count
    settings: Json
    inputs: dict[str, Annotated[dict[str, str], _like(Input)]]
    files: list[File]
    results: Json
    produced: Annotated[Json, _like(Produced)]
    identity: Identity = ""
    digest: StrictStr = ""

    def file(self, path: str) -> File:
        """The entry of a file. Raises ArtifactError if the artifact has no such file."""
        for entry in self.files:
            if entry.path == path:
                return entry
        raise ArtifactError(f"the manifest of {self.path} names no file {path}")

    def input(self, role: str) -> str:
        return self.inputs[role]["path"]


@dataclass(frozen=True, config=_CONFIG)
class Record:
    """The output of a finished unit of a step. path, kind, id, identity: of the step.

    rows: [first, end) of the step's planned rows that the unit covers; null if rows are not planned. started, ended:
    UNIX seconds.
    """

    path: ArtifactPath
    kind: StrictStr
    id: Id
    identity: Identity
    unit: StrictStr
    rows: RowRange | None
    files: list[File]
    results: Json
    started: Seconds
    ended: Seconds
    commit_seconds: Seconds
    machine: StrictStr


Placed: TypeAlias = Manifest | Record


def of_shape(shape: Callable[..., Shape], fields: Any, where: str) -> Shape:
    """The fields, validated as this shape. Raises ArtifactError naming `where` and the first invalid field."""
    try:
        parsed: Shape = _adapter(shape).validate_python(fields)
        return parsed
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "it"
        raise ArtifactError(
            f"{where} is malformed ({field}: {first['msg']}), or another version of undertow wrote it. Use that "
            "version, use another root, or remove this file and run the study again."
        ) from None


def with_checksum(fields: Json) -> bytes:
    """The fields as JSON that starts with its own SHA-256, computed with zeros in that place."""
    blank = (json.dumps({CHECKSUM: _BLANK} | fields, indent=1, allow_nan=False) + "\n").encode()
    return blank.replace(_BLANK.encode(), hashlib.sha256(blank).hexdigest().encode(), 1)


def without_checksum(content: bytes, where: str) -> Json:
    """The fields that `with_checksum` wrote. Raises ArtifactError naming `where` if a single bit differs."""
    try:
        fields: Json = json.loads(content, parse_constant=_refuse)
        checksum = fields.pop(CHECKSUM)
        intact = hashlib.sha256(content.replace(checksum.encode(), _BLANK.encode(), 1)).hexdigest() == checksum
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise ArtifactError(f"{where} is damaged: its bytes are not those that were written")
    return fields


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
