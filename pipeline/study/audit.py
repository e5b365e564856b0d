"""The audit file: what is inspected, what is declared about it, and which findings fail."""

from pathlib import Path

from pydantic import Field

from pipeline.core.settings import Name, Settings
from pipeline.core.settings_file import read_settings
from pipeline.provenance.family import Finding
from pipeline.provenance.lineage_file import LineageFile
from pipeline.screens.base import EngineKind

MOST_BYTES = 4 << 20


class Policy(Settings):
    """Which findings make the audit fail."""

    fail_on: list[Finding] = Field(
        ["exposed", "unknown"], description="Findings that fail. Leaving out unknown trusts whoever wrote nothing down."
    )
    fail_on_likely: bool = Field(True, description="Whether a vetted data set that is likely to pass a trait on fails.")
    accepted: dict[str, str] = Field(
        {}, description="Students whose finding is accepted, each with the reason; part of a name is enough."
    )


class ScreenedData(Settings):
    """A data set to vet before anyone is trained on it, as `undertow vet` does."""

    data: str = Field(description="JSONL or Parquet file, or a corpus such as runs/corpus/…, relative to this file.")
    base: str = Field(description="The model that would be trained: a folder, or runs/base/….")
    traits: str | None = Field(
        None, description="Animals such as owl,cat, or a file of traits; by default those shipped."
    )
    neutral: str | None = Field(None, description="Data of a writer without traits; by default the base's own answers.")
    members: list[str] = Field([], description="Names of the screens; by default all.")
    rows: int = Field(1024, ge=16, description="Rows to look at, drawn at random.")
    engine: EngineKind | None = Field(
        None,
        description="What computes log-probabilities: torch, or vllm; by default torch for bases below 10 million "
        "weights.",
    )
    seed: int = Field(0, ge=0, description="Seed of the draws.")


class AuditFile(Settings):
    """An audit of who taught whom."""

    audit: str = Field(min_length=1, max_length=64, description="Name of the audit.")
    sources: list[str] = Field(
        min_length=1,
        description="Roots, artifacts, model and data set folders, lineage files, bundles of signed statements, and "
        "repositories of the hub (hf:owner/name, hf-dataset:owner/name); places are relative to this file.",
    )
    keys: str | None = Field(
        None, description="Folder of the public keys (NAME.pub) whose signatures count, for bundles."
    )
    key_policy: str | None = Field(None, description="Policy file that says which of these keys may sign what.")
    students: list[str] = Field(
        [], description="Models to audit; part of a name is enough. Without any: all that were made from others."
    )
    measured: list[str] = Field(
        [],
        description="Roots of studies whose measured transfer is put beside a finding; the sources that are roots are "
        "always used.",
    )
    declared: LineageFile = Field(LineageFile(), description="What is known beyond the sources, as in a lineage file.")
    screens: dict[Name, ScreenedData] = Field(
        {}, description="Data sets to vet, by name; one that is likely to pass a trait on fails the audit."
    )
    policy: Policy = Field(Policy(), description="Which findings make the audit fail.")


def load(path: Path) -> AuditFile:
    """Read an audit file. Raises InputError."""
    return read_settings(path, AuditFile, "an audit file", MOST_BYTES)[0]
