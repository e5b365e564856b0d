"""`undertow schema`: the JSON Schemas of files that people write, and that other programs read."""

from typing import Any

from pydantic import TypeAdapter

from pipeline.core.errors import InputError


def schema_of(*, audit: bool, findings: bool, lineage: bool, experiment: bool = False) -> dict[str, Any]:
    """Of an audit file, of audit.json, of a lineage file (as lineage.json is), or of an experiment's file.

    Of a study file if nothing is asked for.

    Raises InputError if several are asked for.
    """
    if audit + findings + lineage + experiment > 1:
        raise InputError("give one of --audit, --findings, --lineage and --experiment")
    if audit:
        from pipeline.study.audit import AuditFile

        return AuditFile.model_json_schema()
    if findings:
        from pipeline.report.audit_files import Findings

        return TypeAdapter(Findings).json_schema()
    if lineage:
        from pipeline.provenance.lineage_file import LineageFile

        return LineageFile.model_json_schema()
    if experiment:
        from pipeline.experiments import Experiment

        return TypeAdapter(Experiment).json_schema()
    from pipeline.study.schema import Study

    return Study.model_json_schema()
