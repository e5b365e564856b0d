"""Where given data comes from: a repository of the Hugging Face hub at a pinned commit, or a local path."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, Field, model_validator

from pipeline.errors import InputError
from pipeline.recipe import Strict
from pipeline.tables import tables

PLACEHOLDER = "0" * 40  # stands where a commit is still to be chosen; a study can be planned with it, not run


class Source(Strict):
    """A repository and its commit, or a path and a word for its content; the path itself is no part of an id."""

    repo: str | None = Field(None, description='Repository, such as "Qwen/Qwen2.5-7B-Instruct".')
    revision: str | None = Field(
        None, description="Commit of the repository: 40 hex digits, so that it stays what it is."
    )
    path: str | None = Field(None, description="A local path instead of a repository.")
    content: str | None = Field(
        None, description="With `path`: name this version of what is there; the path itself is no part of an id."
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Source":
        if (self.repo is None) == (self.path is None):
            raise ValueError("give either repo (with revision) or path")
        if self.repo and not re.fullmatch(r"[0-9a-f]{40}", self.revision or ""):
            raise ValueError(f"revision must be the 40 hex digits of a commit of {self.repo}, not {self.revision!r}")
        if self.path and not self.content:
            raise ValueError("path needs content: a word that names this version of what is there")
        return self

    @property
    def is_placeholder(self) -> bool:
        """Whether its commit is still to be chosen."""
        return self.repo is not None and self.revision == PLACEHOLDER


class Dataset(Source):
    """Rows of a hub data set, or of a local JSONL or Parquet file."""

    kind: Literal["dataset"] = "dataset"
    subset: str | None = Field(None, description='Configuration of a hub data set, such as "main".')
    split: str = Field("train", description="Split of a hub data set.")


def placeholders(settings: object, place: str = "") -> Iterator[str]:
    """The settings in `settings` that hold a placeholder, such as "families.qwen.revision"."""
    if isinstance(settings, Source):
        yield from [f"{place}.revision"] if settings.is_placeholder else []
        return
    parts = dict(enumerate(settings)) if isinstance(settings, list) else settings
    for name, part in dict(parts).items() if isinstance(parts, BaseModel | dict) else ():
        yield from placeholders(part, f"{place}.{name}".removeprefix("."))


def read(dataset: Dataset, columns: Sequence[str]) -> pa.Table:
    """All rows of these columns, which hold strings. Raises InputError where they cannot be read."""
    if dataset.path is not None:
        return pa.concat_tables(tables(Path(dataset.path), columns))
    from datasets import load_dataset

    try:
        found = load_dataset(dataset.repo, dataset.subset, split=dataset.split, revision=dataset.revision)
    except Exception as error:  # the library raises anything from OSError to its own and huggingface_hub's errors
        raise InputError(f"cannot fetch {dataset.repo} at {dataset.revision}: {error}") from error
    rows: pa.Table = found.with_format("arrow")[:]
    absent = [name for name in columns if name not in rows.column_names]
    if absent:
        raise InputError(f"{dataset.repo} has no column {', '.join(absent)}; it has {', '.join(rows.column_names)}")
    return rows.select(columns).cast(pa.schema([(name, pa.string()) for name in columns]))
