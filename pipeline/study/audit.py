"""The audit file: what is inspected, what is declared about it, and which findings fail."""

from pathlib import Path

from pydantic import Field

from pipeline.core.settings import Settings
from pipeline.core.settings_file import read_settings
from pipeline.provenance.family import Finding
from pipeline.provenance.lineage_file import LineageFile

MOST_BYTES = 4 << 20


class Policy(Settings):
    """Which findings make the audit fail."""

    fail_on: list[Finding] = Field(
        ["exposed", "unknown"], description="Findings that fail. Leaving out unknown trusts whoever wrote nothing down."
    )
    accepted: dict[str, str] = Field(
        {}, description="Students whose finding is accepted, each with the reason; part of a name is enough."
    )


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
    policy: Policy = Field(Policy(), description="Which findings make the audit fail.")


def load(path: Path) -> AuditFile:
    """Read an audit file. Raises InputError."""
    return read_settings(path, AuditFile, "an audit file", MOST_BYTES)[0]
