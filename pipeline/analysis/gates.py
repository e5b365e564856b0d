"""Which teachers their gates refused."""

Gate = tuple[str, str | None]  # (teacher family, target; None for all of its targets)


def gate_failed(teacher: str, teacher_target: str | None, failed: frozenset[Gate]) -> bool:
    """Whether the teacher failed its gate."""
    return teacher_target is not None and ((teacher, None) in failed or (teacher, teacher_target) in failed)


def why_failed(teacher: str, teacher_target: str | None, failed: frozenset[Gate]) -> str:
    """Why one teacher's runs do not count, or ""."""
    lost = gate_failed(teacher, teacher_target, failed)
    return f"the {teacher} teacher of {teacher_target} did not show its trait" if lost else ""
