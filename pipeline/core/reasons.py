"""Codes for why results are missing. Codes enter ids and are compared; the words are for people."""

LACKS_TRAIT, NOT_MEASURED, NOT_COHERENT = "lacks_trait", "not_measured", "no_coherent_answers"
REFUSALS = frozenset({LACKS_TRAIT, NOT_MEASURED, NOT_COHERENT})  # why a gate refuses a teacher

WORDS = {
    LACKS_TRAIT: "a teacher does not show its trait",
    NOT_MEASURED: "the margin of a teacher or of its base cannot be measured: its candidates hold too little of the "
    "probability (teachers.gate.min_mass)",
    NOT_COHERENT: "no answer of a teacher or of its base is coherent",
    "too_few_rows": "a corpus has too few accepted rows",
    "canary_failed": "an engine did not serve a model as it was trained",
    "model_refused": "a starting model was refused",
    "artifact_error": "an artifact is missing or damaged",
}
FAILED = "step_failed"  # for errors without a code of their own


def words(code: str) -> str:
    """The meaning of a code, in words."""
    return WORDS.get(code, "a step failed")
