"""Where external data comes from: a repository of the Hugging Face hub at a pinned commit, or a local path."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field, ValidationInfo, model_validator

from pipeline.core import limits
from pipeline.core.errors import InputError
from pipeline.core.readers import tables
from pipeline.core.settings import NotInId, Settings, is_stored

REPOSITORY = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)
NO_OWNERS = ("buckets", "datasets", "spaces")  # first parts of hub addresses that are not owners
PLACEHOLDER = "0" * 40  # for a commit that is still to be chosen; a study with it can be planned, not run


class Source(Settings):
    """A repository and its commit, or a path and a name for its content; the path itself does not enter ids."""

    repo: str | None = Field(None, description='Repository of the hub, such as "Qwen/Qwen2.5-7B-Instruct".')
    revision: str | None = Field(
        None, description="Commit of the repository, 40 hex digits, so that its content cannot change."
    )
    path: Annotated[str | None, NotInId()] = Field(
        None, min_length=1, description="Local path, instead of a repository."
    )
    content: str | None = Field(
        None,
        description="Required with `path`: a name for this version of its content; the path is not part of an id.",
    )

    @model_validator(mode="after")
    def _one_source(self, info: ValidationInfo) -> "Source":
        if is_stored(info.context):
            return self
        if (self.repo is None) == (self.path is None):
            raise ValueError("give either repo (with revision) or path")
        if self.repo is not None and not (REPOSITORY.fullmatch(self.repo) and ".." not in self.repo):
            raise ValueError(
                f"repo must be a repository of the hub, OWNER/NAME, not {self.repo!r}; set path for a folder"
            )
        if self.repo and not re.fullmatch(r"[0-9a-f]{40}", self.revision or ""):
            raise ValueError(f"revision must be the 40 hex digits of a commit of {self.repo}, not {self.revision!r}")
        if self.path and not self.content:
            raise ValueError("path needs content: a name for this version of the data at that path")
        return self

    def absolute(self) -> Self:
        """A copy with an absolute path: workers have their own working directories."""
        return self.model_copy(update={"path": str(Path(self.path).absolute())}) if self.path else self

    @property
    def is_placeholder(self) -> bool:
        """Whether its commit is still to be chosen."""
        return self.repo is not None and self.revision == PLACEHOLDER


class Dataset(Source):
    """Rows of a hub data set, or of a local JSONL or Parquet file."""

    kind: Literal["dataset"] = "dataset"
    subset: str | None = Field(None, description='Configuration of a hub data set, such as "main".')
    split: str = Field("train", description="Split of a hub data set.")

    @model_validator(mode="after")
    def _has_an_owner(self) -> "Dataset":
        # A name without an owner can be that of a file format, which is read from the working directory.
        if self.repo is not None and ("/" not in self.repo or self.repo.split("/")[0] in NO_OWNERS):
            raise ValueError(f"repo must name a data set with its owner, such as openai/gsm8k, not {self.repo}")
        return self

    def read(self, columns: Sequence[str]) -> pa.Table:
        """All rows of these string columns. Raises InputError if there are no rows, or a value is not a string."""
        return _read(self, columns)

    def pieces(self, rows: int) -> Iterator[pa.Table]:
        """All columns of a hub data set, so many rows at a time. Raises InputError if it cannot be fetched."""
        yield from _opened(self).with_format("arrow").iter(batch_size=rows)


def placeholders(settings: object, place: str = "") -> Iterator[str]:
    """The settings in `settings` that hold a placeholder, such as "families.qwen.revision"."""
    if isinstance(settings, Source):
        yield from [f"{place}.revision"] if settings.is_placeholder else []
        return
    parts = dict(enumerate(settings)) if isinstance(settings, list) else settings
    for name, part in dict(parts).items() if isinstance(parts, BaseModel | dict) else ():
        yield from placeholders(part, f"{place}.{name}".removeprefix("."))


def local_paths(settings: object) -> Iterator[str]:
    """The local files and folders that `settings` name."""
    path = getattr(settings, "path" if isinstance(settings, Source) else "folder", None)
    yield from [path] if path else []
    inner = dict(settings) if isinstance(settings, BaseModel) else settings
    for part in inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else ():
        yield from local_paths(part)


def _read(dataset: Dataset, columns: Sequence[str]) -> pa.Table:
    if dataset.path is None:
        rows = _fetched(dataset, columns)
        _require_rows(rows, f"{dataset.repo} at {dataset.revision}")
        return rows
    parts, size = [], 0
    for part in tables(Path(dataset.path), columns):
        parts.append(part)
        size += part.nbytes
        if size > limits.ROWS_BYTES:
            raise InputError(f"{dataset.path} holds more than the {limits.ROWS_BYTES:,} bytes of text allowed")
    rows = pa.concat_tables(parts) if parts else pa.table({name: pa.array([], pa.string()) for name in columns})
    _require_rows(rows, dataset.path)
    return rows


def _require_rows(rows: pa.Table, where: str) -> None:
    if not rows.num_rows:
        raise InputError(f"{where} holds no rows")
    for name in rows.column_names:
        if rows[name].null_count:
            row = pc.index(rows[name].is_null(), True).as_py() + 1
            raise InputError(f"{where}: row {row} has no {name}; every row must have one")


def _opened(dataset: Dataset) -> Any:
    """A hub data set at exactly its commit, as the library's Dataset, which reads from disk."""
    from datasets import load_dataset_builder

    where = f"{dataset.repo} at {dataset.revision}"
    try:
        # The prefix keeps the library from reading a local folder of the same name.
        builder = load_dataset_builder(f"hf://datasets/{dataset.repo}", dataset.subset, revision=dataset.revision)
        if builder.hash == dataset.revision:  # if the hub is unreachable, the library takes its last download
            builder.download_and_prepare()
            found = builder.as_dataset(split=dataset.split)
    except Exception as error:  # the library raises OSError, its own errors, huggingface_hub's errors and more
        raise InputError(f"cannot fetch {where}: {error}") from error
    if builder.hash != dataset.revision:
        raise InputError(f"cannot fetch {where}: there is only another version of it on this machine, {builder.hash}")
    return found


def _fetched(dataset: Dataset, columns: Sequence[str]) -> pa.Table:
    where, found = f"{dataset.repo} at {dataset.revision}", _opened(dataset)
    for name in columns:
        if found.column_names.count(name) != 1:
            raise InputError(f"{where} has no column {name}; it has {', '.join(found.column_names)}")
    rows: pa.Table = found.select_columns(list(columns)).with_format("arrow")[:]
    if rows.nbytes > limits.ROWS_BYTES:
        raise InputError(f"{where} holds more than the {limits.ROWS_BYTES:,} bytes of text allowed")
    try:
        return rows.select(columns).cast(pa.schema([(name, pa.string()) for name in columns]))
    except pa.ArrowException as error:
        raise InputError(f"{where}: {' and '.join(columns)} must hold strings: {error}") from None
