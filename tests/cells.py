"""A small study's answers, drawn at random, and tables of cells by what names a cell."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np

from pipeline.analysis.design import Measure
from pipeline.analysis.transfer import StudentAnswers

TARGETS = ("owl", "cat", "otter", "hare")  # as few as give a verdict
CANDIDATES = (*TARGETS, "dog", "wolf")
SUITES = {"favourite": ("margin", "share"), "stories": ("mention_rate",)}
SETTINGS = Measure(
    TARGETS,
    ("plain", "shuffled"),
    SUITES,
    {"margin": 0.2, "share": 0.2, "mention_rate": 0.2},
    ("favourite", "margin"),
    margin_reason="as far as these students go",
)
PLACE = ("numbers", "plain", "favourite")  # channel, arm, suite
FAMILIES = ("llama", "qwen")
BASE = {metric: dict.fromkeys(CANDIDATES, 0.1) for metric in ("margin", "share", "mention_rate", "substring_rate")}
BASES = {(suite, family): BASE for suite in SUITES for family in FAMILIES}


def answers(
    teacher: str,
    student: str,
    teacher_target: str | None,
    seed: int,
    effect: float,
    candidates: Sequence[str] = CANDIDATES,
    corpus: int = 1,
) -> StudentAnswers:
    """A student whose own trait rose by `effect`, with a little noise fixed by who it is."""
    place = [*FAMILIES, *TARGETS, None].index
    rng = np.random.default_rng([place(teacher), place(student), place(teacher_target), seed, corpus - 1])
    values = {c: 0.1 + float(rng.normal(0, 0.02)) + (effect if c == teacher_target else 0.0) for c in candidates}
    name = f"student-{teacher_target}-{teacher}-{student}-{corpus}-{seed}"
    results = dict.fromkeys(BASE, values)
    return StudentAnswers(*PLACE, teacher, student, teacher_target, corpus, seed, name, results)


def study(same: float = 0.5, cross: float = 0.0) -> Iterator[StudentAnswers]:
    """Two seeds of each teacher with a trait; three corpora of each neutral one."""
    for teacher in FAMILIES:
        for student in FAMILIES:
            for teacher_target, seed in product(TARGETS, (0, 1)):
                yield answers(teacher, student, teacher_target, seed, same if teacher == student else cross)
            for corpus in (1, 2, 3):
                yield answers(teacher, student, None, 0, 0.0, corpus=corpus)


def rows(table: object) -> dict[tuple[str, str, str, str], Mapping[str, object]]:
    return {
        (r["teacher_family"], r["student_family"], r["comparison"], r["metric"]): r
        for r in table.to_pylist()  # type: ignore[attr-defined]
    }


def traits(cells: object) -> list[Mapping[str, object]]:
    return [c for c in cells.to_pylist() if c["comparison"] == "trait"]  # type: ignore[attr-defined]
